"""The plan as a table on disk: one row a block, read by jobs and by the workflow alike."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import DataError
from pipeline.storage.publish import published_file


class PlanRow(BaseModel):
    """One block: the images that one job reconstructs, and what that will take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: str
    """Name, four digits or more in the order of the images."""
    first_image: int
    images: int
    image_batch: int
    """Images that are on the device at one moment."""
    coil_batch: int
    """Coils that are transformed at one moment."""
    device_mb: int
    """Predicted peak of device memory [MB]; 0 on a CPU."""
    host_mb: int
    """Predicted peak of resident memory [MB]."""
    seconds: float
    """Predicted wall time [s], from operation counts."""
    limit_device_mb: int
    """Limit the plan was made for [MB]; 0 on a CPU."""
    limit_host_mb: int
    mem_mb: int
    """Memory to ask a scheduler for [MB]."""
    runtime: int
    """Time to ask a scheduler for [minutes]."""
    dominant: str
    """The largest part of the peak."""

    def work(self) -> str:
        """Return, as canonical JSON, what decides the block's result."""
        fields = {"block", "first_image", "images", "image_batch", "coil_batch"}
        return json.dumps(self.model_dump(include=fields), sort_keys=True)

    @classmethod
    def columns(cls) -> list[str]:
        """Return the names of the table's columns."""
        return list(cls.model_fields)

    @classmethod
    def parse(cls, cells: dict[str, str]) -> Self:
        """Return the row that one line of the table holds."""
        return cls.model_validate(cells)


def write_plan(path: Path, rows: Sequence[PlanRow]) -> None:
    """Write the plan as tab-separated text, whole or not at all."""
    with published_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, PlanRow.columns(), delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_NONE
        )
        writer.writeheader()
        writer.writerows(row.model_dump() for row in rows)


def read_plan(path: Path) -> dict[str, PlanRow]:
    """Read a plan; rows by block name.

    Raises
    ------
    DataError
        If the file is missing or is not a plan.
    """
    try:
        with path.open(newline="") as file:
            rows = [PlanRow.parse(cells) for cells in csv.DictReader(file, delimiter="\t")]
    except FileNotFoundError:
        raise DataError(f"{path}: no such plan; run `plan` first") from None
    except (OSError, UnicodeDecodeError, csv.Error, ValidationError) as error:
        raise DataError(f"{path}: not readable as a plan ({error}); run `plan` again") from None
    if not rows:
        raise DataError(f"{path}: the plan has no blocks; run `plan` again")
    return {row.block: row for row in rows}
