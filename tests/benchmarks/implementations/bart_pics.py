"""BART's `pics`, as its users call it: files in, files out, one call a frame."""

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.cases import Problem
from benchmarks.implementations.base import Implementation, sums


class Bart(Implementation):
    """Conjugate gradients without regularisation; reading and writing its files counts."""

    def __init__(
        self, problem: Problem, *, tolerance: float, threads: int, device: str = "cpu"
    ) -> None:
        super().__init__(problem, tolerance=tolerance, threads=threads, device=device)
        self._peak_bytes = 0
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        flat = (1,) * (3 - len(self.shape))
        write_cfl(folder / "maps", self.maps.reshape(len(self.maps), *flat, *self.shape))
        # BART: cycles per field of view, always three components, x first.
        points = np.zeros((*self.trajectory.shape[:2], 3), np.complex64)
        scale = np.array(self.shape) / (2 * np.pi)
        points[..., : len(self.shape)] = (self.trajectory * scale)[..., ::-1]
        if self.prior == "l2":
            for frame, (trajectory, kspace) in enumerate(zip(points, problem.kspace, strict=True)):
                write_cfl(folder / f"trajectory{frame}", trajectory[None])
                write_cfl(folder / f"kspace{frame}", kspace[:, None, :, None])
            return
        write_cfl(folder / "trajectory", points[:, None, None, None])
        write_cfl(folder / "kspace", problem.kspace[:, None, :, None, :, None])
        write_cfl(folder / "basis", self.basis.T[:, :, *(None,) * 5])

    def prepare(self, operation: str) -> None:
        pass

    def forward(self, image: np.ndarray) -> np.ndarray:
        raise NotImplementedError("only whole reconstructions are asked of BART")

    def adjoint(self, kspace: np.ndarray) -> np.ndarray:
        raise NotImplementedError("only whole reconstructions are asked of BART")

    def solve(
        self, kspace: np.ndarray, iterations: int, damping: float = 0.0
    ) -> tuple[np.ndarray, float]:
        folder, scale = Path(self._folder.name), np.sqrt(np.prod(self.shape))
        if self.prior == "basis":
            command = ["bart", "pics", "-l2", "-w", "1", "-i", str(iterations)]
            command += ["-r", str(damping / scale**2), "-B", "basis"]
            self._run([*command, "-t", "trajectory", "kspace", "maps", "image"], folder)
            return sums(
                self.basis, read_cfl(folder / "image").reshape(-1, *self.shape)
            ) / scale, 0.0
        for frame in range(len(kspace)):
            command = ["bart", "pics", "-l2", "-w", "1", "-i", str(iterations)]
            command += ["-r", str(damping / np.prod(self.shape))]
            command += ["-t", f"trajectory{frame}", f"kspace{frame}", "maps", f"image{frame}"]
            self._run(command, folder)
        images = [read_cfl(folder / f"image{frame}") for frame in range(len(kspace))]
        # BART's transform is ours divided by the square root of the number of voxels, `scale`.
        return np.stack(images).reshape(len(kspace), *self.shape) / scale, 0.0

    def _run(self, command: list[str], folder: Path) -> None:
        process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        status = Path(f"/proc/{process.pid}/status")
        while process.poll() is None:
            for line in status.read_text().splitlines() if status.exists() else []:
                if line.startswith("VmHWM:"):
                    self._peak_bytes = max(self._peak_bytes, int(line.split()[1]) * 1024)
            time.sleep(0.005)
        _, message = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {message.strip()}")

    def peak_bytes_elsewhere(self) -> int:
        return self._peak_bytes


def write_cfl(path: Path, array: np.ndarray) -> None:
    """Write ``array``, slowest axis first, as BART's pair of files; a coil is its axis 3."""
    extents = [str(extent) for extent in reversed(array.shape)]
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{' '.join(extents)}\n")
    np.ascontiguousarray(array, np.complex64).tofile(path.with_suffix(".cfl"))


def read_cfl(path: Path) -> np.ndarray:
    """Read BART's pair of files, slowest axis first."""
    extents = path.with_suffix(".hdr").read_text().splitlines()[1].split()
    shape = tuple(int(extent) for extent in reversed(extents))
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(shape)


class Bartorch(Bart):
    """BART 1.0 within this process."""

    def _run(self, command: list[str], folder: Path) -> None:
        from bartorch._dispatch import run_command

        with contextlib.chdir(folder):
            code, _, message = run_command(command[1:])
        if code:
            raise RuntimeError(f"{' '.join(command)}: {message}")
