"""Times, sizes and lengths as people write them, and the templates that show them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def duration(seconds: float) -> str:
    """Return a time [s] as people write it: 0.84 s, 12.3 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(megabytes: float) -> str:
    """Return a size [MB] as people write it: 812 MB, 4.1 GB."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def length(metres: float) -> str:
    """Return a length [m] as people write it: 500 µm, 20 mm, 1.5 m."""
    for unit, size in (("m", 1.0), ("mm", 1e-3)):
        if metres >= size * (1 - 1e-9):
            return f"{metres / size:.3g} {unit}"
    return f"{metres / 1e-6:.3g} µm"


def environment() -> "Environment":
    """Return what renders the templates of the pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(duration=duration, memory=memory, length_text=length)
    return made
