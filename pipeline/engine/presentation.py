"""A plan as text for a person: the table of jobs and what it adds up to."""

from collections.abc import Sequence

from pipeline.engine.table import PlanRow

_MOST_ROWS = 20


def plan_lines(who: str, rows: Sequence[PlanRow]) -> list[str]:
    """Return the lines that describe a plan."""
    blocks = sum(row.stage == "reconstruct" for row in rows)
    shards = len(rows) - blocks
    cut = f", measurements in {shards} shards" if shards else ""
    header = ["job", "images", "channels", "readouts", "tile", "device MB", "host MB", "disk MB"]
    header += ["seconds", "largest part"]
    table = [header, *(_cells(row) for row in _shown(rows))]
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    lines = [f"Plan of {who}: {blocks} block{'s' if blocks > 1 else ''}{cut}"]
    for cells in table:
        padded = [cell.rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append("  ".join((*padded[:-1], cells[-1])).rstrip())
    if len(rows) > _MOST_ROWS:
        lines.append(f"... {len(rows)} jobs in all, of which {_MOST_ROWS} are shown")
    seconds = sum(row.seconds for row in rows)
    memory = f"{max(row.host_mb for row in rows)} MB of the host"
    if rows[0].limit_device_mb:
        memory = f"{max(row.device_mb for row in rows)} MB of the device and {memory}"
    disk = sum(row.disk_mb for row in rows)
    lines.append(
        f"All jobs: {_duration(seconds)} one after the other, {disk} MB on disk; "
        f"the largest needs {memory}"
    )
    lines.append("A tile is images x channels x readouts that are in work at one moment.")
    return lines


def _shown(rows: Sequence[PlanRow]) -> list[PlanRow]:
    if len(rows) <= _MOST_ROWS:
        return list(rows)
    return [*rows[: _MOST_ROWS - 3], *rows[-3:]]


def _cells(row: PlanRow) -> list[str]:
    return [
        f"{row.block}-{row.shard}" if row.shard else row.block,
        _span(row.first_image, row.images),
        _span(row.first_channel, row.channels),
        _span(row.first_readout, row.readouts),
        f"{row.image_batch} x {row.coil_batch} x {row.readout_batch}",
        f"{row.device_mb} of {row.limit_device_mb}" if row.limit_device_mb else "-",
        f"{row.host_mb} of {row.limit_host_mb}",
        str(row.disk_mb),
        f"{row.seconds:.0f}",
        row.dominant,
    ]


def _span(first: int, count: int) -> str:
    return str(first) if count == 1 else f"{first}-{first + count - 1}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
