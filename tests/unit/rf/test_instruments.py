"""What the instruments of pairs add: found by `calibrate`, and taken away as tiles are read."""

import numpy as np
import pytest
from acquisitions import reconstruction_settings

from pipeline.config.calibration import CalibrateSettings
from pipeline.config.sources import IngestSettings
from pipeline.errors import ConfigError, DataError
from pipeline.rf.geometry.antennas import Pair
from pipeline.rf.geometry.scene import Scene
from pipeline.rf.model.born import simulate
from pipeline.rf.model.instruments import CorrectedPairs
from pipeline.rf.raw import RfRawData
from pipeline.stages.calibrate import calibrate
from pipeline.stages.ingest import ingest
from pipeline.stages.plan import plan
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import read_json

SCENE = Scene((7, 6), (0.2, 0.3), (0.1, 0.2, 0.0))
FREQUENCIES = np.linspace(9.6e9, 10.4e9, 9)
TARGET = np.array([0.5, -0.1, 0.0])
POINTS = np.array([TARGET, [0.1, 0.5, 0.0], [-0.3, 0.2, 0.0]])
AMPLITUDES = np.array([1.0, 0.02j, -0.01 + 0.01j])
PHASE, DELAY = np.array([0.4, -2.1, 1.7]), np.array([1.3e-9, -0.6e-9, 3.1e-9])


def pair(index):
    """Return two linear arrays some way off, under angles of their own."""
    generator = np.random.default_rng(index)
    arrays = []
    for grid in ((4, 1), (1, 5)):
        offsets = np.moveaxis(np.indices(grid), 0, -1).reshape(-1, 2) * 0.05
        centre = [*generator.uniform(-4, 4, 2), -20]
        arrays.append(np.column_stack([offsets, np.zeros(len(offsets))]) + centre)
    return Pair(*arrays)


PAIRS = [pair(0), pair(1), pair(2)]
CLEAN = np.stack([simulate(POINTS, AMPLITUDES, one, FREQUENCIES) for one in PAIRS])


def gains(index):
    generator = np.random.default_rng(10 + index)
    return [np.exp(0.3 * (generator.standard_normal((size, 2)) @ [1, 1j])) for size in (4, 5)]


def instrument(index, elements=False):
    clock = np.exp(1j * (PHASE[index] - 2 * np.pi * FREQUENCIES * DELAY[index]))[:, None, None]
    return clock * (np.multiply.outer(*gains(index)) if elements else 1)


def corrupted(elements=False):
    return np.stack([CLEAN[index] * instrument(index, elements) for index in range(3)])


def bring_in(folder, data, **known):
    """Ingest pairs from a file; ``known`` are the axes and values of further arrays."""
    arrays = {
        "y": (["pair", "freq", "m1", "m2"], data),
        "frequencies": (["freq"], FREQUENCIES),
        "tx": (["pair", "element", "coordinate"], [one.tx for one in PAIRS]),
        "rx": (["pair", "element", "coordinate"], [one.rx for one in PAIRS]),
        **known,
    }
    np.savez(folder / "scan.npz", **{name: values for name, (_, values) in arrays.items()})
    grid = {"shape": SCENE.shape, "spacing": SCENE.spacing, "origin": SCENE.origin}
    mapping = {name: {"name": name, "axes": axes} for name, (axes, _) in arrays.items()}
    settings = {
        "kind": "rf",
        "format": "arrays",
        "source": str(folder / "scan.npz"),
        "details": {"scene": grid, "arrays": mapping},
    }
    ingest(
        settings=IngestSettings.model_validate(settings),
        dataset="scan",
        raw=folder / "raw.json",
        receipt=folder / "ingest.json",
    )


def calibrated(folder, **instruments):
    """Return the calibration, the pairs as they should have measured, and the receipt."""
    calibrate(
        settings=CalibrateSettings.model_validate(
            {"calibration": {}, "nufft": {}, "instruments": instruments}
        ),
        dataset="scan",
        raw=folder / "raw.json",
        calibration=folder / "calibration.json",
        receipt=folder / "calibrate.json",
        device="cpu",
        threads=2,
    )
    found = Calibration.open(folder / "calibration.json")
    corrected = CorrectedPairs(RfRawData.open(folder / "raw.json"), found)
    return found, corrected, read_json(folder / "calibrate.json")


def measured(corrected):
    return [corrected.measurements(0, index, slice(None)) for index in range(3)]


def test_what_the_source_says_is_taken_away_as_measurements_are_read(tmp_path):
    tx, rx = (np.stack([gains(index)[side] for index in range(3)]) for side in (0, 1))
    bring_in(
        tmp_path,
        corrupted(elements=True),
        phase=(["pair"], PHASE),
        delay=(["pair"], DELAY),
        gain_tx=(["pair", "element"], tx),
        gain_rx=(["pair", "element"], rx),
    )
    _, corrected, receipt = calibrated(tmp_path)
    for index, found in enumerate(measured(corrected)):
        assert found.dtype == np.complex64
        np.testing.assert_allclose(found, CLEAN[index], rtol=1e-4, atol=1e-9)
        # By a tile of some frequencies as by all.
        some = corrected.measurements(0, index, slice(3, 5))
        np.testing.assert_array_equal(some, found[3:5])
    assert receipt["instruments"] == "given"
    assert receipt["corrections"][2]["delay_s"] == DELAY[2]


def test_what_the_settings_say_is_taken_away(tmp_path):
    bring_in(tmp_path, corrupted())
    known = {"phase": PHASE.tolist(), "delay": DELAY.tolist()}
    _, corrected, _ = calibrated(tmp_path, pair_correction=known)
    for index, found in enumerate(measured(corrected)):
        np.testing.assert_allclose(found, CLEAN[index], rtol=1e-5)
    with pytest.raises(ConfigError, match=r"pair_correction\.delay has 2 values, but .* 3 pairs"):
        calibrated(tmp_path, pair_correction={"delay": [0.0, 0.0]})
    with pytest.raises(ConfigError, match="has a reference_target, but corrections are known"):
        calibrated(tmp_path, pair_correction=known, reference_target={"position": TARGET.tolist()})


def test_nothing_is_taken_away_where_nothing_is_known(tmp_path):
    bring_in(tmp_path, CLEAN)
    found, corrected, receipt = calibrated(tmp_path, coherent=False)
    assert not found.coherent
    assert receipt["instruments"] == "as measured"
    np.testing.assert_array_equal(measured(corrected), CLEAN.astype(np.complex64))


def back_projection(measurements):
    """Return the coherent sum of all pairs on a fine grid about the target, by exact paths."""
    k = 2 * np.pi * FREQUENCIES / 299_792_458.0
    steps = np.arange(-10, 11) * 0.01
    x, y = np.meshgrid(TARGET[0] + steps, TARGET[1] + steps, indexing="ij")
    points = np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3)
    image = np.zeros(len(points), complex)
    for index, one in enumerate(PAIRS):
        legs = [np.linalg.norm(points[:, None] - array, axis=-1) for array in (one.tx, one.rx)]
        for wavenumber, values in zip(k, measurements[index], strict=True):
            tx, rx = (np.exp(1j * wavenumber * leg) for leg in legs)
            image += np.einsum("ni,ij,nj->n", tx, values, rx)
    return np.abs(image).reshape(x.shape)


def test_a_reference_target_tells_phases_and_delays(tmp_path):
    data = corrupted()
    bring_in(tmp_path, data)
    found, corrected, receipt = calibrated(
        tmp_path,
        coherent=False,
        reference_target={"position": TARGET.tolist(), "amplitude": 1.0},
    )
    assert found.coherent
    middle = FREQUENCIES.mean()
    for index, one in enumerate(receipt["corrections"]):
        # The other scatterers are 2 % of the target, which is all the error that is left.
        assert abs(one["delay_s"] - DELAY[index]) < 0.02 / (2 * np.pi * 0.4e9)
        phase = one["phase_rad"][0] - PHASE[index]
        phase -= 2 * np.pi * middle * (one["delay_s"] - DELAY[index])
        assert abs(np.angle(np.exp(1j * phase))) < 0.03
        assert one["residual"] < 0.05
        assert one["coherence"] > 0.99
    image, ideal = back_projection(measured(corrected)), back_projection(CLEAN)
    assert np.unravel_index(image.argmax(), image.shape) == (10, 10)
    np.testing.assert_allclose(image, ideal, atol=0.04 * ideal.max())
    assert back_projection(data)[10, 10] < 0.7 * ideal.max()


def test_a_reference_target_tells_the_gains_of_elements(tmp_path):
    bring_in(tmp_path, corrupted(elements=True))
    _, corrected, receipt = calibrated(
        tmp_path,
        reference_target={"position": TARGET.tolist(), "amplitude": 1.0, "element_gains": True},
    )
    for found, truth in zip(measured(corrected), CLEAN, strict=True):
        assert np.linalg.norm(found - truth) < 0.06 * np.linalg.norm(truth)
    assert max(one["residual"] for one in receipt["corrections"]) < 0.06


def test_a_target_that_is_not_there_is_named(tmp_path):
    bring_in(tmp_path, corrupted())
    # Off by more than the largest delay looked for.
    settings = {"position": [0.5, -0.1, 6.0], "largest_delay": 1e-10}
    with pytest.raises(DataError, match=r"scan: pair 0: no scatterer stands out at the reference"):
        calibrated(tmp_path, reference_target=settings)


@pytest.mark.parametrize("fusion", ["coherent", "non-coherent"])
def test_a_coherent_image_of_uncalibrated_pairs_is_refused(tmp_path, fusion):
    bring_in(tmp_path, corrupted())
    calibrated(tmp_path, coherent=False)
    planned = tmp_path / "plan.tsv"

    def planning():
        plan(
            settings=reconstruction_settings(
                algorithm="matched-filter", fusion=fusion, force_model=True
            )[0],
            dataset="scan",
            reconstruction="image",
            raw=tmp_path / "raw.json",
            calibration=tmp_path / "calibration.json",
            plan=planned,
            receipt=tmp_path / "plan.json",
            device="cpu",
            threads=2,
        )

    if fusion == "coherent":
        with pytest.raises(DataError, match=r"scan image: the phases of its 3 pairs are not calib"):
            planning()
    else:
        planning()
        assert planned.exists()
