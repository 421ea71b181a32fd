import pytest

from pipeline.algorithms.registry import parse_algorithm
from pipeline.config.transforms import NufftSettings
from pipeline.engine.machine import Machine
from pipeline.engine.rates import Rates
from pipeline.errors import ConfigError
from pipeline.mri.plan import ImaginedScan, models

SCAN = ImaginedScan((12, 14), 8, 3, 5, 6, own_trajectory=False, slices=2)
MACHINE = Machine(False, 1, 8, NufftSettings(backend="finufft"))


@pytest.mark.parametrize("joined", [3, 8, "all"])
def test_frames_of_two_slices_are_not_joined(joined):
    settings = parse_algorithm({"algorithm": "gridding", "frames_per_image": joined})
    with pytest.raises(ConfigError, match="2 slices of 4 frames"):
        models(SCAN, None, settings, MACHINE, Rates.host(1), "who")


def test_frames_of_a_slice_are_joined():
    settings = parse_algorithm({"algorithm": "gridding", "frames_per_image": 2})
    (costs,), _ = models(SCAN, None, settings, MACHINE, Rates.host(1), "who")
    assert costs.readouts == 10
