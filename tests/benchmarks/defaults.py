"""How good the image is that is made by default: a search over the settings.

    python tests/benchmarks/defaults.py [--rows radial] [--data FOLDER] [--csv FILE]

Each row is an acquisition with a true image: simulated by closed forms, or every tenth spoke of a
measured brain, whose truth is the image of all of them (``--data`` as for the tests on measured
data). Of each algorithm it prints the error of what its name alone gives, the least error that any
of a grid of its settings reaches, and the seconds and iterations of the first.
"""

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config.datasets import Dataset
from pipeline.in_process import ResultPaths, run
from pipeline.storage.publish import open_published, read_json


@dataclass(frozen=True)
class Row:
    """A simulated acquisition."""

    trajectory: str
    shape: tuple[int, ...]
    readouts: int
    samples: int
    coils: int
    snr_db: float
    phantom: str = "shepp-logan"
    frames: int = 1

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        frames = f", {self.frames} frames" if self.frames > 1 else ""
        return (
            f"{self.trajectory} {size}, {self.readouts} x {self.samples}, {self.coils} coils, "
            f"{self.snr_db:g} dB, {self.phantom}{frames}"
        )

    @property
    def source(self) -> dict[str, Any]:
        """What a config says of the dataset."""
        names = ("trajectory", "readouts", "samples", "coils", "snr_db", "frames")
        return {
            "shape": list(self.shape),
            "simulation": {name: getattr(self, name) for name in names},
        }

    @property
    def dataset(self) -> dict[str, Any]:
        """Its row in the table of datasets."""
        return {"format": "simulation", "source": self.phantom}


_FLAT, _DEEP = (96, 96), (40, 40, 40)
ROWS = (
    Row("golden-radial", _FLAT, 30, 192, 8, 30),
    Row("golden-radial", _FLAT, 30, 192, 8, 20),
    Row("golden-radial", _FLAT, 15, 192, 20, 45),
    Row("golden-radial", _FLAT, 150, 192, 8, 45),
    Row("golden-radial", _FLAT, 150, 192, 8, 20),
    Row("golden-radial", _FLAT, 60, 192, 1, 30),
    Row("golden-radial", _FLAT, 150, 192, 1, 20),
    Row("golden-radial", _FLAT, 34, 192, 8, 30, "ellipses", 4),
    Row("golden-radial", _FLAT, 21, 192, 8, 35, "shepp-logan", 4),
    Row("spiral", _FLAT, 12, 600, 4, 30),
    Row("spiral", _FLAT, 5, 600, 8, 45),
    Row("spiral", _FLAT, 12, 600, 4, 20),
    Row("spiral", _FLAT, 12, 600, 1, 30, "ellipses"),
    Row("kooshball", _DEEP, 300, 80, 8, 45),
    Row("kooshball", _DEEP, 2000, 80, 8, 30),
    Row("kooshball", _DEEP, 2000, 80, 1, 20),
    Row("kooshball", _DEEP, 600, 80, 8, 30, "ellipses"),
    Row("stack-of-stars", (16, 48, 48), 20, 96, 8, 30),
    Row("stack-of-stars", (16, 48, 48), 70, 96, 4, 20),
    Row("stack-of-stars", (16, 48, 48), 30, 96, 20, 45, "ellipses"),
)
SMALL = (
    Row("golden-radial", (32, 32), 12, 64, 4, 30),
    Row("golden-radial", (32, 32), 48, 64, 1, 20),
    Row("spiral", (32, 32), 6, 160, 4, 30, "ellipses"),
    Row("kooshball", (16, 16, 16), 150, 32, 4, 25),
)
"""Of `make test`."""

PLAIN = tuple(
    {"algorithm": "cg-sense", "weights": weights, "regularization": weight, "iterations": count}
    for weights, weight, counts in (
        ("none", 0.0, (4, 8, 12, 16, 24, 32, 48, 64)),
        ("density", 0.0, (2, 3, 4, 6, 8, 12, 24)),
        ("density", 0.1, (4, 12)),
    )
    for count in counts
)
"""A grid of settings without what defaults go by."""


Settings = Mapping[str, Any]


def grids(
    sparsities: Sequence[float] = (0.002, 0.005, 0.01, 0.02, 0.04, 0.08),
) -> Mapping[str, tuple[Settings, Sequence[Settings]]]:
    """Return what is said of each algorithm by default, and the settings that are searched."""

    def penalised(penalty: str) -> tuple[Settings, list[Settings]]:
        default = {"algorithm": "fista", "penalty": penalty}
        return default, [{**default, "sparsity": one, "iterations": 40} for one in sparsities]

    return {
        "cg-sense": ({"algorithm": "cg-sense"}, PLAIN),
        "fista tv": penalised("tv"),
        "fista wavelet": penalised("wavelet"),
        # Its minimisers are those of fista.
        "admm tv": ({"algorithm": "admm", "penalty": "tv"}, penalised("tv")[1]),
    }


@dataclass(frozen=True)
class Found:
    """What one algorithm made of a row."""

    default: float
    """Error by default; of several frames their mean."""
    best: float
    """Least error of the grid."""
    settings: str
    """What reached it."""
    seconds: float
    iterations: int

    @property
    def ratio(self) -> float:
        """The default's error over the best, which may be the default's own."""
        return self.default / min(self.best, self.default)


class Search:
    """An acquisition and its calibration on disk, and reconstructions of it."""

    def __init__(self, row: Any, folder: Path, *, threads: int = 1) -> None:
        self._row, self._folder, self._threads, self._count = row, folder, threads, 0
        self._errors: dict[str, tuple[float, dict[str, Any]]] = {}
        self._run({"algorithm": "gridding"}, first="ingest", until="calibrate")

    def image(self, settings: Mapping[str, Any]) -> tuple[np.ndarray, ResultPaths]:
        """Return the magnitudes of a reconstruction, ``[frame, z, y, x]``, and its files."""
        files = self._run(settings, first="plan", until="merge")
        return np.abs(np.asarray(open_published(files.image)["image"][:], np.complex128)), files

    def error(self, settings: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
        """Return the error of a reconstruction, and the receipt of its first block."""
        asked = str(settings)
        if asked not in self._errors:  # grids share some
            found, files = self.image(settings)
            truth = np.abs(np.asarray(open_published(files.raw)["reference"][: len(found)]))
            errors = [error_of(one, other) for one, other in zip(found, truth, strict=True)]
            receipt = read_json(files.receipt("reconstruct-0000"))
            self._errors[asked] = float(np.mean(errors)), receipt
        return self._errors[asked]

    def _run(self, settings: Mapping[str, Any], **stages: Any) -> ResultPaths:
        self._count += 1
        name = f"r{self._count}"
        config = {
            "memory": {"host_mb": 6000},
            "compute": {"device": "cpu", "threads": self._threads},
            "calibration": {"consistency": False},
            "output": {"ome_zarr": False, "nifti": False},
            "sources": {"d": self._row.source},
            "reconstructions": {name: {**getattr(self._row, "joins", {}), **settings}},
        }
        row = Dataset(dataset="d", kind="mri", reconstructions=[name], **self._row.dataset)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return run(config, row, name, self._folder, **stages)


def error_of(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the relative error of magnitudes after one real factor."""
    image = image * (np.sum(image * truth) / np.sum(image**2))
    return float(np.linalg.norm(image - truth) / np.linalg.norm(truth))


def search(
    row: Any,
    algorithms: Sequence[str],
    *,
    threads: int = 1,
    searched: Mapping[str, tuple[Settings, Sequence[Settings]]] | None = None,
) -> Iterator[tuple[str, Found]]:
    """Yield what each algorithm makes of a row; `searched` is what `grids` returns."""
    searched = searched or grids()
    with tempfile.TemporaryDirectory() as folder:
        found = Search(row, Path(folder), threads=threads)
        for name in algorithms:
            default, grid = searched[name]
            error, receipt = found.error(default)
            tried = [(found.error(settings)[0], settings) for settings in grid]
            best, settings = min(tried, key=lambda one: one[0])
            shown = ", ".join(f"{k} {v}" for k, v in settings.items() if k not in default)
            seconds = sum(part["seconds"] for part in receipt["phases"].values())
            yield name, Found(error, best, shown, seconds, receipt["iterations"])


class Brain:
    """A measured brain: some spokes of each flip angle; the truth is the image of all of them.

    Flip angles differ in contrast. Images join all, so that few spokes and many show the same.
    """

    joins: Mapping[str, Any] = {"frames_per_image": "all"}

    def __init__(self, data: Path, folder: Path, readouts: int = 4) -> None:
        import h5py

        with h5py.File(data / "brain-radial" / "smalltest.h5") as file:
            y = file["real_dat"][:, :, 0] + 1j * file["imag_dat"][:, :, 0]
            k = 2 * np.pi * np.stack([file["real_traj"][:], file["imag_traj"][:]], -1)
            maps = file["Coils"][:, 0]
        self._folder, self._arrays = folder, {"kspace": y, "trajectory": k, "sensitivities": maps}
        self._readouts = k.shape[1]
        settings = {"weights": "density", "regularization": 0.0, "iterations": 12}
        self._write(np.zeros(maps.shape[1:]))
        with tempfile.TemporaryDirectory() as work:
            whole = Search(self, Path(work)).image({"algorithm": "cg-sense", **settings})[0]
        self._readouts = readouts
        self._write(np.abs(whole[0]))

    def _write(self, reference: np.ndarray) -> None:
        few = slice(0, self._readouts)
        np.savez(
            self._folder / "brain.npz",
            kspace=self._arrays["kspace"][:, :, few].astype(np.complex64),
            trajectory=self._arrays["trajectory"][:, few].astype(np.float32),
            sensitivities=self._arrays["sensitivities"].astype(np.complex64),
            reference=reference.astype(np.complex64).reshape(1, *reference.shape[-2:]),
        )

    def __str__(self) -> str:
        return f"measured brain 256x256, {10 * self._readouts} of 340 spokes, 5 coils"

    @property
    def source(self) -> dict[str, Any]:
        """What a config says of the dataset."""
        axes = {
            "kspace": ["frame", "coil", "readout", "sample"],
            "trajectory": ["frame", "readout", "sample", "axis"],
            "sensitivities": ["coil", "y", "x"],
            "reference": ["frame", "y", "x"],
        }
        arrays = {name: {"name": name, "axes": one} for name, one in axes.items()}
        return {"shape": [256, 256], "arrays": arrays}

    @property
    def dataset(self) -> dict[str, Any]:
        """Its row in the table of datasets."""
        return {"format": "arrays", "source": str(self._folder / "brain.npz")}


def main() -> None:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", default="", help="only rows that have this in their name")
    parser.add_argument("--algorithms", nargs="+", default=list(grids()), choices=list(grids()))
    parser.add_argument("--data", type=Path, help="folder with the measured data")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, default=Path("results/defaults.csv"))
    chosen = parser.parse_args()
    say("| row | algorithm | default | best | ratio | by | s | iterations |")
    say("|---|---|---|---|---|---|---|---|")
    ratios: dict[str, list[float]] = {}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        brain = [Brain(chosen.data, Path(folder))] if chosen.data else []
        for row in (*ROWS, *brain):
            if chosen.rows not in str(row):
                continue
            for name, found in search(row, chosen.algorithms, threads=chosen.threads):
                ratios.setdefault(name, []).append(found.ratio)
                lines.append([str(row), name, *vars(found).values()])
                say(
                    f"| {row} | {name} | {found.default:.3f} | {found.best:.3f} "
                    f"| {found.ratio:.2f} | {found.settings} | {found.seconds:.1f} "
                    f"| {found.iterations} |"
                )
    for name, values in ratios.items():
        near = sum(value <= 1.1 for value in values)
        say(f"{name}: within 10 % in {near} of {len(values)}, at most {max(values):.2f}")
    chosen.csv.parent.mkdir(parents=True, exist_ok=True)
    with chosen.csv.open("w", newline="") as file:
        header = ("row", "algorithm", "default", "best", "settings", "seconds", "iterations")
        csv.writer(file).writerows([header, *lines])


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
