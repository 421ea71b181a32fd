"""Which reconstructions of a run are missing, and why: what their logs say last.

A run that goes on after failures leaves no metrics of what failed. The logs stand where the
workflow puts them, ``<logs>/<stage>/<dataset>[/<reconstruction>[/<block>]].log``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.storage.receipts import STAGES

_MOST_JOBS = 3
_LONGEST_REASON = 400


@dataclass(frozen=True)
class Failure:
    """A reconstruction that is missing."""

    dataset: str
    reconstruction: str
    stage: str
    """The first stage with a job that failed; empty if no log tells."""
    jobs: int
    """How many of its jobs failed."""
    reason: str
    """Last lines of the logs of the first of them."""

    def __str__(self) -> str:
        who = f"{self.dataset} · {self.reconstruction}"
        if not self.stage:
            return f"{who}: {self.reason}"
        jobs = f" ({self.jobs} jobs)" if self.jobs > 1 else ""
        return f"{who}: {self.stage}{jobs}: {self.reason}"


def find_failures(
    expected: Iterable[tuple[str, str]], done: Iterable[tuple[str, str]], logs: Path
) -> list[Failure]:
    """Return what was expected but is not done, with the reason that its logs give.

    Both are pairs (dataset, reconstruction).
    """
    made = set(done)
    return [_failure(*one, logs) for one in expected if one not in made]


def _failure(dataset: str, reconstruction: str, logs: Path) -> Failure:
    last = ""
    for stage in STAGES:
        found = _logs_of(logs / stage, dataset, reconstruction)
        last = stage if found else last
        reasons = [reason for log in found if (reason := reason_of(log))]
        if reasons:
            told = "; ".join(dict.fromkeys(reasons[:_MOST_JOBS]))
            return Failure(dataset, reconstruction, stage, len(reasons), told)
    if last:
        told = (
            "its logs end without an error; a job of it or of the next stage was killed or not run"
        )
        return Failure(dataset, reconstruction, last, 0, told)
    return Failure(dataset, reconstruction, "", 0, f"has not run: it has no log under {logs}")


def _logs_of(folder: Path, dataset: str, reconstruction: str) -> Sequence[Path]:
    """Return the logs of one stage: of the dataset, the reconstruction, or each of its blocks."""
    candidates = [folder / f"{dataset}.log", folder / dataset / f"{reconstruction}.log"]
    blocks = sorted((folder / dataset / reconstruction).glob("**/*.log"))
    return [log for log in (*candidates, *blocks) if log.is_file()]


def reason_of(log: Path) -> str:
    """Return the error that a log ends with, or nothing if it ends without one."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError as error:
        return f"its log is not readable ({error})"
    told = [line for line in lines if line.strip()]
    if not told:
        return ""
    if told[-1].startswith("kronufft: "):
        return told[-1].removeprefix("kronufft: ")[:_LONGEST_REASON]
    if any(line.startswith("Traceback (most recent call last)") for line in told):
        return told[-1].strip()[:_LONGEST_REASON]
    return ""
