"""The plan as a table on disk: one row a job, read by jobs and by the workflow alike.

A block of images is reconstructed by one job. Where its measurement is cut into shards, a job for
each shard accumulates its share of the normal equations first, and the block's own job sums the
shares and solves. Behind the blocks stands what merging, measuring and reporting take.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, field_serializer

from pipeline.config.transforms import TransformChoice
from pipeline.engine.needs import Need, requested_mb
from pipeline.errors import DataError
from pipeline.storage.publish import read_text, write_text

_NO_RESULT = {
    *("device_mb", "host_mb", "disk_mb", "seconds", "limit_device_mb", "limit_host_mb"),
    *("mem_mb", "runtime", "dominant"),
}
"""Columns that decide what a job takes, not what it computes."""


def _read_choice(cell: object) -> object:
    return json.loads(cell or "{}") if isinstance(cell, str) else cell


class PlanRow(BaseModel):
    """One job: which images of which part of the measurement, and what that will take.

    Of the stages after the blocks only what they take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: Literal["accumulate", "reconstruct", "merge", "measure", "report"]
    block: str
    """Name of the block, four digits or more in the order of the images."""
    shard: str
    """Name of the shard, three digits or more; empty where the job reconstructs a block."""
    first_image: int
    images: int
    first_channel: int
    channels: int
    """Coils in MRI, pairs of antenna arrays in RF; 1 for a phase history."""
    first_readout: int
    readouts: int
    """Readouts of one image in MRI, frame after frame where frames are joined; frequencies of RF
    pairs; pulses of a phase history."""
    image_batch: int
    """Images that are in work at one moment."""
    coil_batch: int
    """Coils that are in work at one moment."""
    readout_batch: int
    """Readouts that are in work at one moment."""
    model: str = ""
    """RF pairs: model of the wavefronts."""
    normal: str = ""
    """RF pairs: form of the normal operator, one of `pipeline.rf.model.pair_costs.NormalForm`."""
    resident: bool = False
    """Whether what the normal operator is made of stays where the job computes, or streams each
    time it is applied: coil maps in MRI, the factors of all pairs in RF."""
    on_host: bool = False
    """Whether the unknowns of a series stay on the host, and images pass through the device."""
    transforms: Annotated[TransformChoice, BeforeValidator(_read_choice)] = TransformChoice()
    """How transforms and Toeplitz products are computed, as JSON; empty goes by rules."""
    device_mb: int
    """Predicted peak of device memory [MB]; 0 on a CPU."""
    host_mb: int
    """Predicted peak of resident memory [MB]."""
    disk_mb: int
    """Predicted size of the file that the job writes [MB]."""
    seconds: float
    """Predicted wall time [s]."""
    limit_device_mb: int
    """Limit the plan was made for [MB]; 0 on a CPU."""
    limit_host_mb: int
    mem_mb: int
    """Memory to ask a scheduler for [MB]."""
    runtime: int
    """Time to ask a scheduler for [minutes]."""
    dominant: str
    """The largest part of the peak."""

    @field_serializer("transforms")
    def _write_choice(self, choice: TransformChoice) -> str:
        chosen = choice.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(chosen, sort_keys=True) if chosen else ""

    def work(self) -> str:
        """Return, as canonical JSON, what decides the job's result."""
        return json.dumps(self.model_dump(exclude=_NO_RESULT), sort_keys=True)

    @classmethod
    def of_stage(cls, stage: str, need: Need, limit_host_mb: int) -> Self:
        """Return the row of a stage after the blocks: what it needs of the host, and an hour."""
        zeros = {name: 0 for name, field in cls.model_fields.items() if field.annotation is int}
        return cls.model_validate(
            {
                **zeros,
                **{"stage": stage, "block": "", "shard": "", "seconds": 0.0, "runtime": 60},
                "host_mb": need.host_mb,
                "limit_host_mb": limit_host_mb,
                "mem_mb": requested_mb(need.host_mb),
                "dominant": need.dominant(),
            }
        )


@dataclass(frozen=True)
class Plan:
    """The jobs of one reconstruction."""

    blocks: Mapping[str, PlanRow]
    """The reconstruct job of each block, by the block's name, in the order of the images."""
    pieces: Mapping[str, tuple[PlanRow, ...]]
    """The accumulate jobs of each block that is cut into shards, in the order of the shards."""
    later: Mapping[str, PlanRow]
    """What the stages after the blocks take, by stage: ``merge``, ``measure``, and of ``report``
    what this reconstruction's share of it takes."""

    @classmethod
    def of(cls, rows: Sequence[PlanRow]) -> Self:
        """Return the plan that consists of ``rows``."""
        pieces: dict[str, tuple[PlanRow, ...]] = {}
        for row in rows:
            if row.stage == "accumulate":
                pieces[row.block] = (*pieces.get(row.block, ()), row)
        return cls(
            {row.block: row for row in rows if row.stage == "reconstruct"},
            pieces,
            {row.stage: row for row in rows if row.stage not in ("accumulate", "reconstruct")},
        )

    def shards(self, block: str) -> tuple[PlanRow, ...]:
        """Return a block's accumulate jobs; none where its own job reads the measurement."""
        return self.pieces.get(block, ())

    def shard(self, block: str, shard: str) -> PlanRow | None:
        """Return one accumulate job; None where the plan has no such job."""
        return next((row for row in self.shards(block) if row.shard == shard), None)

    def jobs(self) -> Iterator[str]:
        """Yield the name of each job, which its receipt bears, in the order they can run."""
        for block, row in self.blocks.items():
            yield from (f"accumulate-{block}-{piece.shard}" for piece in self.shards(block))
            yield f"{row.stage}-{block}"


def write_plan(path: Path, rows: Sequence[PlanRow]) -> None:
    """Write the plan as tab-separated text, whole or not at all; its last line is a checksum."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text,
        list(PlanRow.model_fields),
        delimiter="\t",
        lineterminator="\n",
        quoting=csv.QUOTE_NONE,
        quotechar=None,  # cells may hold JSON
    )
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    write_text(path, text.getvalue())


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises
    ------
    DataError
        If the file is missing, damaged or edited, or is not a plan.
    """
    text = io.StringIO(read_text(path), newline="")
    try:
        reader = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [PlanRow.model_validate(cells) for cells in reader]
    except (csv.Error, ValidationError) as error:
        raise DataError(f"{path}: not readable as a plan ({error}); run `plan` again") from None
    plan = Plan.of(rows)
    if not plan.blocks:
        raise DataError(f"{path}: the plan has no blocks; run `plan` again")
    return plan
