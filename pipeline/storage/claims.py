"""Who may publish: of all runs of one job the one that began last, while its inputs stand.

A job can outlive the workflow that started it, and finish after its successor. Each run therefore
**claims** its job when it begins: it removes the claims, and the unfinished files, of earlier runs.
Before a result is renamed into place its run must still hold the claim, and what it has read must
still be what is on disk. No clock is compared, so a clock that is set back does no harm.

What is unfinished lies in a hidden folder beside the file that it is to become, under the name of
the run: ``.image.json.partial/3f9c0a71d2b4``.
"""

import hashlib
import json
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError, SupersededError
from pipeline.files import why_unreadable

Checksum = Callable[[Path], str]

_LARGE = 2**30
_END = 2**20

_held: ContextVar["Claim | None"] = ContextVar("claim", default=None)


def held_claim() -> "Claim | None":
    """Return the claim of the job that runs in this thread; None outside jobs."""
    return _held.get()


def file_checksum(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def source_checksum(path: Path) -> str:
    """Return a checksum of a file or folder of any size, in a second or so.

    A file beyond 1 GiB is known by its size and its first and last MiB, a folder by the names and
    sizes of its files: what was read of them is known by the fingerprint of `raw.zarr`.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(entry for entry in path.rglob("*") if not entry.is_dir()):
            if (reason := why_unreadable(file)) and file.exists():
                raise DataError(f"{file}: {reason}; a source holds files and folders")
            if reason:  # a link to nothing
                continue
            digest.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
        return f"sha256-of-names-and-sizes:{digest.hexdigest()}"
    size = path.stat().st_size
    if size <= _LARGE:
        return file_checksum(path)
    with path.open("rb") as source:
        for start in (0, size - _END):
            source.seek(start)
            digest.update(source.read(_END))
    return f"sha256-of-both-ends:{digest.hexdigest()}:{size}"


def note_input(path: Path, checksum: Checksum = file_checksum) -> None:
    """Tell the running job's claim, if there is one, that the job has read ``path``."""
    claim = held_claim()
    if claim is not None:
        claim.uses(path, checksum)


@dataclass(frozen=True)
class _Input:
    checksum: str
    status: tuple[int, ...]
    checksum_of: Checksum


def _status(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Claim:
    """A run's right to publish the results of its job.

    Use `claimed`. Attributes:

    Attributes
    ----------
    token : str
        Name of the run, unique.
    """

    def __init__(self, job: Path) -> None:
        self.token = uuid.uuid4().hex[:12]
        self._job = job
        self.file = self.unfinished(job)
        self._inputs: dict[Path, _Input] = {}

    def unfinished(self, path: Path) -> Path:
        """Return where this run may write what is to become ``path``."""
        return unfinished_folder(path) / self.token

    def clear(self, path: Path) -> None:
        """Remove what other runs have left unfinished of ``path``, and make room for this one."""
        folder = unfinished_folder(path)
        if folder.is_dir():
            for leftover in folder.iterdir():
                if not leftover.name.startswith(self.token):
                    discard(leftover)
        folder.mkdir(parents=True, exist_ok=True)

    def uses(self, path: Path, checksum: Checksum) -> None:
        """Note that the run has read ``path``; its first reading counts."""
        if path not in self._inputs:
            self._inputs[path] = _Input(checksum(path), _status(path), checksum)

    def inputs(self) -> dict[str, str]:
        """Return the checksum of each file that the run has read."""
        return {str(path): found.checksum for path, found in self._inputs.items()}

    def check(self, result: Path) -> None:
        """Raise `SupersededError` if this run is not the job's last, or its inputs have changed."""
        if not self.file.exists():
            raise SupersededError(
                f"{result}: not published, because another run of the same job has begun since "
                "this one did; its result counts"
            )
        for path, before in self._inputs.items():
            try:
                same = _status(path) == before.status or before.checksum_of(path) == before.checksum
            except OSError:
                same = False
            if not same:
                raise SupersededError(
                    f"{result}: not published, because {path} has changed since this job read it; "
                    "run `snakemake` again"
                )

    def release(self) -> None:
        """Give the job up; its folder goes with the last claim."""
        discard(self.file)


def unfinished_folder(path: Path) -> Path:
    """Return the folder of what is to become ``path``."""
    return path.with_name(f".{path.name}.partial")


def discard(path: Path) -> None:
    """Remove what is unfinished, file or folder, and its folder if nothing else is in it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    with suppress(OSError):  # another run's is there
        path.parent.rmdir()


@contextmanager
def claimed(job: Path) -> Iterator[Claim]:
    """Hold the claim of a job while the block runs; only this job writes the file ``job``."""
    claim = Claim(job)  # takes the job over from whoever has it
    claim.clear(job)
    holder = {"host": platform.node(), "process": os.getpid()}
    claim.file.write_text(json.dumps(holder) + "\n")
    before = _held.set(claim)
    try:
        yield claim
    finally:
        _held.reset(before)
        claim.release()
