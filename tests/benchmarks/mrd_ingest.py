"""Ingest of ISMRMRD files of several sizes: memory, and speed against `ismrmrd` one by one.

``python tests/benchmarks/mrd_ingest.py --gib 0.5 1 2 4 --folder FOLDER`` prints a table for
docs/performance.md. A file has readouts of 16 coils and 512 samples with their trajectory; FOLDER
needs 2.2 times the largest. Each is ingested in a fresh process. Seconds are those that passed, and
of a processor; the page cache holds what was written last, for both readers alike.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
from ingest_memory import COILS, SAMPLES, coil_values, say
from ismrmrd.hdf5 import acquisition_dtype

sys.path.insert(0, str(Path(__file__).parents[1]))

from mrd_files import header

from pipeline.config.base import canonical_json
from pipeline.config.sources import IngestSettings
from pipeline.storage.publish import read_json

_PIECE = 256
_ONE_BY_ONE = 1024
"""Readouts that `ismrmrd` is asked for."""


def write(path: Path, readouts: int) -> None:
    """Write a file laid out as `ismrmrd` lays it out, some readouts at a time."""
    draw = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        text = header((64, 64, 64))
        group.create_dataset("xml", data=np.array([text.encode()], object),
                             dtype=h5py.special_dtype(vlen=bytes))  # fmt: skip
        stored = group.create_dataset("data", (readouts,), acquisition_dtype, chunks=(1,),
                                      maxshape=(None,))  # fmt: skip
        block = np.stack([coil_values(_PIECE, coil) for coil in range(COILS)], axis=1)
        samples = block.view(np.float32).reshape(_PIECE, -1)
        for start in range(0, readouts, _PIECE):
            rows = np.zeros(_PIECE, acquisition_dtype)
            head = rows["head"]
            head["number_of_samples"], head["center_sample"] = SAMPLES, SAMPLES // 2
            head["active_channels"] = head["available_channels"] = COILS
            head["trajectory_dimensions"] = 3
            for row in range(_PIECE):
                rows["data"][row] = samples[row]
                k = draw.uniform(-0.49, 0.49, 3 * SAMPLES)
                rows["traj"][row] = k.astype(np.float32)
            stored[start : start + _PIECE] = rows


def one_by_one(path: Path) -> tuple[float, float]:
    """Return MB/s of `ismrmrd` asked for one readout after the other: passed, and of processor."""
    file = ismrmrd.Dataset(str(path), create_if_needed=False)
    count = min(_ONE_BY_ONE, file.number_of_acquisitions())
    start, used = time.perf_counter(), time.process_time()
    read = sum(file.read_acquisition(number).data.nbytes for number in range(count)) / 1e6
    speeds = read / (time.perf_counter() - start), read / (time.process_time() - used)
    file.close()
    return speeds


def ingested(path: Path, folder: Path) -> tuple[float, float, float, float]:
    """Return measured and predicted memory [MB], and MB/s: passed, and of processor."""
    settings = IngestSettings(kind="mri", format="mrd", source=str(path), details={})
    receipt = folder / "results/ingest.json"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(sys.executable, "-m", "pipeline", "ingest", "--dataset", "scan", "--settings"),
            *(canonical_json(settings), "--raw", folder / "results/raw.json"),
            *("--receipt", receipt),
        ],
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    told = read_json(receipt)
    size = path.stat().st_size / 1e6
    memory = (told["peak_host_bytes"] / 1e6, told["predicted_host_bytes"] / 1e6)
    return (*memory, size / told["seconds"], size / used)


def main() -> None:
    """Measure files of the sizes that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, nargs="+", default=[0.5, 1.0, 2.0, 4.0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    given = parser.parse_args()
    say("| GiB | measured MB | predicted MB | MB/s | MB/s of processor | `ismrmrd` MB/s | same |")
    say("|---|---|---|---|---|---|---|")
    for gib in given.gib:
        readouts = round(gib * 2**30 / (COILS * SAMPLES * 8) / _PIECE) * _PIECE
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            path = Path(folder, "scan.h5")
            write(path, readouts)
            cells = [*ingested(path, Path(folder)), *one_by_one(path)]
        say(f"| {gib:g} | {' | '.join(f'{cell:.0f}' for cell in cells)} |")


if __name__ == "__main__":
    main()
