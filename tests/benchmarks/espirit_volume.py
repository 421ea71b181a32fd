"""ESPIRiT's maps of 256^3 voxels from 32 coils: memory, seconds, and error within the object.

``python tests/benchmarks/espirit_volume.py [--size 256] [--coils 32]`` prints a line; it takes 5 GB
of disk, and the time of some hundred thousand eigenvalue problems. The phantom's exact k-space is
taken along spokes that end beyond the centre, which is all that maps are estimated from.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from acquisitions import write_attributes
from coil_measurements import measure

from pipeline.mri.arrays import ARRAYS
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.phantoms import shepp_logan, voxel_average
from pipeline.mri.generators.radial import kooshball
from pipeline.storage.calibration import Calibration
from pipeline.storage.publish import published_store, read_json

_REACH = 20
"""Of the spokes [Cartesian samples]; the centre's half width is 12."""


def main() -> None:
    """Calibrate in a process of its own, and compare the plane in the middle with the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--coils", type=int, default=32)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    shape, coils = (given.size,) * 3, given.coils
    k = kooshball(4 * _REACH**2, 4 * _REACH) * min(1, 2 * _REACH / given.size)
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        _write(Path(folder, "raw.json"), shape, coils, k)
        threads = os.cpu_count() or 1
        subprocess.run(
            [
                *(sys.executable, "-m", "pipeline", "calibrate", "--dataset", "volume"),
                *("--settings", '{"calibration": {"coil_maps": "espirit"}, "nufft": {}}'),
                *("--raw", Path(folder, "raw.json")),
                *("--calibration", Path(folder, "calibration.json")),
                *("--receipt", Path(folder, "calibrate.json")),
                *("--device", "cpu", "--threads", str(threads)),
            ],
            check=True,
            capture_output=True,
        )
        told = read_json(Path(folder, "calibrate.json"))
        error = _error(Path(folder, "calibration.json"), shape, coils)
    measured, predicted = (told[f"{name}_host_bytes"] / 1e6 for name in ("peak", "predicted"))
    sys.stdout.write(
        f"{given.size}^3, {coils} coils: {measured:.0f} MB measured, {predicted:.0f} predicted, "
        f"{told['seconds']:.0f} s by {threads} threads, error within the object {error:.4f}\n"
    )


def _write(marker: Path, shape: tuple[int, ...], coils: int, k: np.ndarray) -> None:
    measured = measure(shape, [k], coils=coils)
    with published_store(marker) as group:
        write_attributes(group, shape, (1e-3,) * 3)
        group.attrs["pattern"] = "radial"
        for name, values in (("trajectory", k), ("kspace", measured.signals[0])):
            stored = ARRAYS.create(group, name, (1, *values.shape))
            stored[0] = values.astype(stored.dtype)


def _error(marker: Path, shape: tuple[int, ...], coils: int) -> float:
    """Return the error of the maps of the middle plane, after one phase a voxel."""
    middle = slice(shape[0] // 2, shape[0] // 2 + 1)
    true = coils_around(shape, coils).maps(rows=middle)
    true /= np.linalg.norm(true, axis=0)
    coarse = voxel_average(shepp_logan(3), (33, *shape[1:]), supersampling=1)
    inside = coarse[16] > 0.05
    found = Calibration.open(marker).sensitivities(planes=middle)
    assert found is not None
    phase = np.exp(1j * np.angle(np.sum(found.conj() * true, axis=0)))
    difference = (found * phase - true)[:, 0, inside]
    return float(np.linalg.norm(difference) / np.linalg.norm(true[:, 0, inside]))


if __name__ == "__main__":
    main()
