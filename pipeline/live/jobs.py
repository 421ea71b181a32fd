"""What is known of a run while it goes on: from events of Snakemake, and what jobs write."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.engine.table import read_plan
from pipeline.errors import KronufftError
from pipeline.report.failures import reason_of
from pipeline.storage.receipts import STAGES

_TAIL = 4096
"""Bytes at the end of a log in which its last line is looked for."""

Whose = tuple[str, str]
"""Dataset and reconstruction; without one where it is of all of a dataset's, or of all datasets."""


@dataclass
class Job:
    """A job that has begun."""

    stage: str
    dataset: str
    reconstruction: str
    part: str
    """Block and shard; empty in other stages."""
    log: Path | None
    threads: int
    mem_mb: float | None
    """What it was predicted to take [MB]."""
    plan: Path | None
    """Of a job that plans, what it writes."""
    began: float

    @property
    def whose(self) -> Whose:
        """Dataset and reconstruction, as far as it has them."""
        return self.dataset, self.reconstruction

    @property
    def name(self) -> str:
        """The same as text."""
        return name_of(self.whose)

    def said(self) -> str:
        """Return the last line of its log: how far it is, with the residual of a solve."""
        if self.log is None or not self.log.is_file():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - _TAIL))
            lines = file.read().decode(errors="replace").split("\n")
        # A line that is being written is not complete.
        told = [line for line in lines[:-1] if line.strip()]
        return told[-1].strip() if told else ""


def name_of(whose: Whose) -> str:
    """Return dataset and reconstruction as text."""
    return " · ".join(filter(None, whose)) or "all"


class Jobs:
    """All jobs of a run, as far as they are known.

    Attributes
    ----------
    running, failed
        By Snakemake's number; of what failed with its one line.
    done, expected
        How many jobs of each stage.
    finished, total
        Jobs of all stages, as Snakemake counts them.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.running: dict[int, Job] = {}
        self.failed: dict[int, tuple[Job, str]] = {}
        self.done: Counter[str] = Counter()
        self.expected: Counter[str] = Counter()
        self.finished = self.total = 0
        self._begun: dict[Whose, Counter[str]] = {}
        """How many jobs of each stage have begun."""
        self._done: dict[Whose, Counter[str]] = {}
        self._planned: dict[Whose, Counter[str]] = {}
        self._in_plans: Counter[str] = Counter()
        self._left: dict[tuple[str, str, str], float] = {}
        """Predicted seconds of the planned jobs that are not done, by what they make."""
        self._predicted = self._took = 0.0

    def expects(self, stats: Mapping[str, int]) -> None:
        """Take the number of jobs of each rule that are to run."""
        self.total = stats.get("total", 0)
        self.expected = Counter({rule: n for rule, n in stats.items() if rule != "total"})

    def begins(self, number: int, told: Mapping[str, Any]) -> None:
        """Take what is logged of a job that begins."""
        wildcards = told.get("wildcards") or {}
        of_job = [str(wildcards[name]) for name in ("block", "shard") if name in wildcards]
        memory = getattr(told.get("resources"), "mem_mb", None)
        plans = [Path(path) for path in told.get("output") or () if path.endswith("plan.tsv")]
        self.running[number] = Job(
            str(told.get("rule_name")),
            str(wildcards.get("dataset", "")),
            str(wildcards.get("reconstruction", "")),
            "-".join(of_job),
            next(map(Path, told.get("log") or ()), None),
            int(told.get("threads") or 1),
            memory if isinstance(memory, int | float) else None,
            next(iter(plans), None),
            time.monotonic(),
        )
        job = self.running[number]
        stage = job.stage
        if stage in STAGES:
            self._begun.setdefault(job.whose, Counter())[stage] += 1
        if stage == "merge":
            self._keeps(job)
        at_least = self.done[stage] + sum(job.stage == stage for job in self.running.values())
        self.expected[stage] = max(self.expected[stage], at_least)

    def _keeps(self, merging: Job) -> None:
        """Expect no more of a plan whose blocks are joined: the others were there before."""
        for names in [*self._left]:
            if names[:2] == merging.whose:
                del self._left[names]
                stage = "accumulate" if "-" in names[2] else "reconstruct"
                self._in_plans[stage] -= 1
                self.expected[stage] -= 1

    def ends(self, number: int) -> None:
        """Take that a job is done."""
        job = self.running.pop(number, None)
        if job is None or job.stage == "all":
            return
        self.done[job.stage] += 1
        self._done.setdefault(job.whose, Counter())[job.stage] += 1
        predicted = self._left.pop((*job.whose, job.part), None)
        if predicted is not None:
            self._predicted += predicted
            self._took += time.monotonic() - job.began
        if job.plan is not None:
            self._reads(job.plan, job.whose)

    def fails(self, number: int, told: Mapping[str, Any]) -> tuple[Job, str] | None:
        """Take that a job has failed; return it with its one line, the first time."""
        job = self.running.pop(number, None)
        if job is None:
            return None
        reason = reason_of(job.log) if job.log is not None and job.log.is_file() else ""
        self.failed[number] = job, reason or f"it was killed, or its log says no more: {job.log}"
        return self.failed[number]

    def _reads(self, file: Path, whose: Whose) -> None:
        """Take the jobs of a plan."""
        try:
            plan = read_plan(file)
        except (KronufftError, OSError):  # its job says so where it matters
            return
        jobs = {block: row.seconds for block, row in plan.blocks.items()}
        shards = {
            f"{block}-{row.shard}": row.seconds for block in jobs for row in plan.shards(block)
        }
        self._left |= {(*whose, part): seconds for part, seconds in (jobs | shards).items()}
        self._planned[whose] = Counter(reconstruct=len(jobs), accumulate=len(shards))
        self._in_plans += self._planned[whose]
        # Jobs that only a plan knows of are not among those that Snakemake expects at first.
        self.expected |= self._in_plans

    def shown(self) -> list[Whose]:
        """Return what has jobs, that which began last at the end.

        A dataset by itself only while none of its reconstructions has any.
        """
        with_images = {dataset for dataset, reconstruction in self._begun if reconstruction}
        return [who for who in self._begun if who[1] or who[0] not in with_images]

    def part_done(self, whose: Whose, stage: str) -> float | None:
        """Return how much of a stage is done, from 0 to 1; `None` where there is none of it.

        All of it where a later stage has begun: what was there before has no job.
        """
        planned = self._planned.get(whose)
        expected = planned[stage] if planned and stage in ("accumulate", "reconstruct") else 1
        if not expected:
            return None
        later = STAGES[STAGES.index(stage) + 1 :]
        if any(self._begun[whose][name] for name in later):
            return 1.0
        own = (self._done.get(who, Counter())[stage] for who in {whose, (whose[0], "")})
        return sum(own) / expected

    def runs(self, whose: Whose, stage: str) -> bool:
        """Whether a job of a stage runs now, of a reconstruction or of its whole dataset."""
        of = {whose, (whose[0], "")}
        return any(job.stage == stage and job.whose in of for job in self.running.values())

    def seconds_left(self, now: float) -> float | None:
        """Return how long the planned jobs will take yet [s]; `None` where none are known.

        As the plans predict, corrected by what the jobs before have taken, side by side as now.
        """
        if not self._left:
            return None
        correction = self._took / self._predicted if self._predicted else 1.0
        left = correction * sum(self._left.values())
        working = [job for job in self.running.values() if (*job.whose, job.part) in self._left]
        return max(0.0, left - sum(now - job.began for job in working)) / max(1, len(working))
