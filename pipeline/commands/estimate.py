"""`kronufft estimate`: what a reconstruction would take, before there is data or a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from typer import Option

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.engine.table import PlanRow

_AUTO = "auto"


@dataclass(frozen=True)
class Estimate:
    """The plan of a reconstruction; as text, a table for a person."""

    title: str
    rows: tuple[PlanRow, ...]
    """A row for each job."""
    measurement_bytes: int
    """What the measurement takes on disk."""

    @property
    def host_mb(self) -> int:
        """Host memory of the largest job [MB]."""
        return max(row.host_mb for row in self.rows)

    @property
    def device_mb(self) -> int:
        """Device memory of the largest job [MB]."""
        return max(row.device_mb for row in self.rows)

    @property
    def seconds(self) -> float:
        """Time of all jobs, one after the other [s]."""
        return sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        from pipeline.engine.limits import MEGABYTE
        from pipeline.engine.presentation import plan_lines

        stored = self.measurement_bytes / MEGABYTE
        lines = plan_lines(self.title, self.rows)
        return "\n".join([*lines, f"The measurement itself is {stored:.0f} MB on disk."])


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) < 20  # what is longer Python may refuse to read


def sizes_of(text: str, option: str) -> tuple[int, ...]:
    """Read sizes such as ``256x256x256``."""
    parts = text.replace("x", " ").replace(",", " ").split()
    if not 2 <= len(parts) <= 3 or not all(_is_number(part) and int(part) for part in parts):
        raise ConfigError(f"{option}: found `{text}`; give two or three sizes, such as 256x256x256")
    return tuple(map(int, parts))


def number_or_auto(text: str, option: str) -> int | Literal["auto"]:
    """Read a limit as a setting has it."""
    if text == _AUTO:
        return "auto"
    if not _is_number(text):
        raise ConfigError(f"{option}: found `{text}`; give a number or {_AUTO}")
    return int(text)


def estimate(
    algorithm: Annotated[str, Option(help="As in `reconstructions`.")],
    shape: Annotated[str | None, Option(help="Image matrix, such as 256x256x256.")] = None,
    raw: Annotated[Path | None, Option(help="Take the sizes of this raw.json instead.")] = None,
    coils: Annotated[int, Option(min=1)] = 1,
    samples: Annotated[int, Option(min=0, help="Of one coil of one image, all readouts.")] = 0,
    readout: Annotated[
        int, Option("--samples-per-readout", min=1, help="Tiles are whole readouts.")
    ] = 512,
    frames: Annotated[int, Option(min=1, help="Images.")] = 1,
    shared: Annotated[
        bool, Option("--shared-trajectory", help="All frames have the same samples.")
    ] = False,
    pairs: Annotated[int, Option(min=0, help="RF: pairs of arrays.")] = 0,
    frequencies: Annotated[int, Option(min=1, help="RF.")] = 1,
    rows: Annotated[
        str | None, Option(help="RF: measurements along each axis, such as 32x16.")
    ] = None,
    iterations: Annotated[int | None, Option(min=1)] = None,
    option: Annotated[
        list[str] | None,
        Option("--set", help="Another setting of `reconstructions`, such as penalty=tv."),
    ] = None,
    precision: Annotated[str, Option(help="single or double.")] = "single",
    deterministic: Annotated[bool, Option("--deterministic")] = False,
    tolerance: Annotated[float, Option(help="Of the NUFFT.")] = 1e-3,
    backend: Annotated[str, Option(help="Of the NUFFT.")] = _AUTO,
    device_mb: Annotated[int, Option(min=0, help="Memory of the GPU; 0 is a CPU.")] = 0,
    host_mb: Annotated[str, Option(help="Memory of one job; auto is this machine's.")] = _AUTO,
    shards: Annotated[str, Option(help="As in `memory`.")] = _AUTO,
    threads: Annotated[int, Option(min=1)] = 1,
    tuning: Annotated[Path | None, Option(help="What `kronufft tune` measured.")] = None,
) -> Estimate:
    """Say what a reconstruction would take, on data and devices that need not be there."""
    if (shape is None) == (raw is None):
        raise ConfigError("estimate: give either --shape and sizes, or --raw")

    from pipeline.algorithms.registry import check_kind
    from pipeline.config.base import given_settings, validate
    from pipeline.config.equations import Known
    from pipeline.config.planning import PlanSettings
    from pipeline.config.sources import Kind
    from pipeline.engine.limits import Limits, planned_limits
    from pipeline.engine.plan import plan_or_advise
    from pipeline.engine.request import request_for
    from pipeline.kinds import open_raw, part_of

    chosen: dict[str, Any] = {"algorithm": algorithm}
    if iterations is not None:
        chosen["iterations"] = iterations
    chosen |= given_settings(option)
    tuned = None if tuning is None else str(tuning)
    content = {
        "reconstruction": chosen,
        "nufft": {"tolerance": tolerance, "backend": backend, "tuning": tuned},
        "memory": {
            "host_mb": number_or_auto(host_mb, "--host-mb"),
            "shards": number_or_auto(shards, "--shards"),
        },
        "precision": precision,
        "deterministic": deterministic,
    }
    settings = validate(PlanSettings, content, "estimate")
    data: Any
    kind: Kind
    if raw is not None:
        data = open_raw(raw)
        kind = data.kind
    else:
        kind = "rf" if pairs else "mri"
        sizes: dict[str, Any] = {
            "coils": coils,
            "samples": samples,
            "readout_samples": readout,
            "own_trajectory": not shared,
        }
        if pairs:
            axes = sizes_of(rows, "--rows") if rows else ()
            sizes = {"pairs": pairs, "frequencies": frequencies, "rows": axes}
        data = part_of(kind, "plan").imagined(sizes_of(shape or "", "--shape"), frames, **sizes)
    check_kind(settings.reconstruction, kind)
    usual = {"reconstruction": settings.reconstruction.decided(Known(kind))}
    settings = settings.model_copy(update=usual)
    limits = Limits(device_mb, planned_limits("cpu", 0, settings.memory.host_mb).host_mb)
    models = part_of(kind, "plan").models
    request = request_for(models, data, None, settings, limits, threads=threads, who="estimate")
    jobs = plan_or_advise(request)
    work = request.work
    matrix = " x ".join(map(str, work.shape))
    images = f"{work.images} images of " if work.images > 1 else ""
    title = f"{settings.reconstruction.algorithm}: {images}{matrix} from {work.model}"
    return Estimate(title, tuple(jobs), work.images * work.model.bytes_per_image)
