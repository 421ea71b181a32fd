"""Receipts: what a job did, how long each phase took, and the memory it used.

One JSON file a job. The metrics and the provenance read receipts and never logs.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from pipeline.errors import DataError
from pipeline.host_memory import peak_host_bytes
from pipeline.storage.circumstances import circumstances
from pipeline.storage.claims import Claim, claimed
from pipeline.storage.publish import read_json, write_json
from pipeline.storage.sealed import remake

RECEIPT_BYTES = 40_000
"""Of a receipt once it is read."""

STAGES = ("ingest", "calibrate", "plan", "accumulate", "reconstruct", "merge", "measure")
"""Stages that leave receipts, in the order they run."""


_IN_ALL = ("stage", "started", "seconds", "versions", "git", "command")


def read_receipt(path: Path) -> dict[str, Any]:
    """Read a receipt.

    Raises
    ------
    DataError
        If it is missing, damaged, or lacks what the receipts of this version hold.
    """
    content = read_json(path)
    if lacking := [key for key in _IN_ALL if key not in content]:
        raise DataError(
            f"{path}: lacks {', '.join(lacking)}; it is of another version; {remake(path)}"
        )
    return content


def warnings_of(receipts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what jobs have warned of, each once."""
    return list(dict.fromkeys(text for one in receipts for text in one.get("warnings", ())))


class Receipt:
    """Collects what one job did and writes it on success.

    Used as a context manager around the whole job, which also claims it (see
    `pipeline.storage.claims`); nothing is written if the job raises. ``settings`` is what the job
    was told; ``identity`` what it worked on: ``dataset``, and where they apply ``reconstruction``
    and ``block``.
    """

    def __init__(
        self, path: Path, stage: str, *, settings: BaseModel | None = None, **identity: str
    ) -> None:
        self.path = path
        self.content: dict[str, Any] = {"stage": stage, **identity}
        if settings is not None:
            self.content["settings"] = settings.model_dump(mode="json")
        self._phases: dict[str, dict[str, float]] = {}
        self._start = time.perf_counter()
        self._inner_seconds = [0.0]

    def __enter__(self) -> Self:
        self.content["started"] = datetime.now(UTC).isoformat(timespec="seconds")
        self._claiming = claimed(self.path)
        self._claim: Claim = self._claiming.__enter__()
        return self

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to the phase ``name`` [s].

        A phase may recur. The time of a phase inside another counts for the inner one only, so
        that phases add up to no more than the job.
        """
        start = time.perf_counter()
        self._inner_seconds.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - start
            entry = self._phases.setdefault(name, {"seconds": 0.0})
            entry["seconds"] += elapsed - self._inner_seconds.pop()
            self._inner_seconds[-1] += elapsed

    def count_bytes(self, name: str, count: int) -> None:
        """Add ``count`` bytes read or written to the phase ``name``."""
        entry = self._phases.setdefault(name, {"seconds": 0.0})
        entry["bytes"] = entry.get("bytes", 0.0) + count

    def record(self, **values: Any) -> None:
        """Add JSON values, such as ``iterations=10``, to the receipt."""
        self.content.update(values)

    def warn(self, text: str) -> None:
        """Say in the log, and at the head of the report, what makes the result doubtful.

        One line, as an error's: who, what was found, what was expected, what to do.
        """
        warnings = self.content.setdefault("warnings", [])
        if text not in warnings:
            warnings.append(text)
            print(f"warning: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        try:
            if kind is None:
                write_json(self.path, self.account())
        finally:
            self._claiming.__exit__(None, None, None)

    def account(self) -> dict[str, Any]:
        """Return all that is known of the job by now."""
        return {
            **self.content,
            "seconds": time.perf_counter() - self._start,
            "phases": self._phases,
            "peak_host_bytes": peak_host_bytes(),
            "inputs": self._claim.inputs(),
            **circumstances(),
        }
