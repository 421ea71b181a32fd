"""The table and the picture of what was measured."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.engine.tuning_file import Timings, TransformTiming

_COLOURS = {
    "ducc0": "tab:blue",
    "finufft": "tab:orange",
    "cufinufft": "tab:green",
    "triton": "tab:purple",
    "torchkbnufft": "tab:red",
}
_MARKERS = {"single": "o", "double": "s"}


def print_tables(measurement: Timings, console: Console) -> None:
    """Print what was measured; transforms that none outdoes in time and error bear a star."""
    console.print(_transform_table(measurement))
    products = Table("FFT library", "pieces", "ms a coil", "noise", "error", title="Products")
    for found in sorted(measurement.products, key=lambda found: found.seconds):
        products.add_row(
            found.fft,
            f"{found.piece_bytes / 2**20:g} MiB",
            _milliseconds(found.seconds),
            f"{found.spread:.0%}",
            f"{found.error:.1e}",
        )
    console.print(products)
    batches = Table("at once", "transforms, ms each", "product, ms each", title="Batches")
    for batch in measurement.batches:
        times = map(_milliseconds, (batch.seconds, batch.product_seconds))
        batches.add_row(str(batch.transforms), *times)
    console.print(batches)
    if measurement.threads:
        threads = Table("threads", "transforms, ms each", title="Threads")
        for each in measurement.threads:
            threads.add_row(str(each.threads), _milliseconds(each.seconds))
        console.print(threads)


def _transform_table(measurement: Timings) -> Table:
    table = Table(
        *("", "library", "precision", "asked", "grid", "width", "error", "forward", "adjoint"),
        *("set-up", "noise", "MB", "note"),
        title="Transforms: milliseconds each",
    )
    front = {id(found) for found in (*measurement.front("single"), *measurement.front("double"))}
    best = measurement.fastest(measurement.tolerance, "single")
    for found in sorted(measurement.transforms, key=_order):
        star = "chosen" if found is best else "*" if id(found) in front else ""
        table.add_row(
            star,
            found.backend,
            found.precision,
            f"{found.tolerance:.1e}",
            f"{found.oversampling:g}",
            str(found.kernel_width or ""),
            f"{found.error:.1e}",
            _milliseconds(found.forward_seconds),
            _milliseconds(found.adjoint_seconds),
            _milliseconds(found.setup_seconds),
            f"{found.spread:.0%}" if found.repeats else "",
            f"{found.workspace_bytes / 1e6:.0f}" if found.workspace_bytes else "",
            found.note,
        )
    return table


def draw(measurement: Timings, path: Path) -> None:
    """Draw the error of each transform against its time, as SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kronufft"}):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        groups: dict[tuple[str, str], list[TransformTiming]] = {}
        for found in measurement.transforms:
            if found.seconds is not None:
                groups.setdefault((found.backend, found.precision), []).append(found)
        for (backend, precision), members in groups.items():
            axes.scatter(
                [1e3 * (found.seconds or 0) for found in members],
                [found.error for found in members],
                marker=_MARKERS[precision],
                facecolors="none" if precision == "double" else _COLOURS[backend],
                edgecolors=_COLOURS[backend],
                label=f"{backend}, {precision}",
            )
        front = measurement.front("single")
        axes.step(
            [1e3 * (found.seconds or 0) for found in front],
            [found.error for found in front],
            where="post",
            color="0.6",
            zorder=0,
            label="none faster and as exact",
        )
        axes.axhline(measurement.tolerance, color="0.3", linestyle=":", linewidth=1)
        best = measurement.fastest(measurement.tolerance, "single")
        if best is not None and best.seconds is not None:
            axes.scatter(
                [1e3 * best.seconds], [best.error], s=160, facecolors="none", edgecolors="black",
                label=f"chosen for {measurement.tolerance:g}",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axes.set_xlabel("forward and adjoint of one coil [ms]")
        axes.set_ylabel("relative error against the exact sum")
        size = " x ".join(map(str, measurement.shape))
        axes.set_title(
            f"{size}, {measurement.samples:,} samples; {measurement.machine.name}, "
            f"{measurement.machine.threads} threads",
            fontsize="medium",
        )
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{1e3 * seconds:.3g}"


def _order(found: TransformTiming) -> tuple[str, float]:
    return found.precision, found.seconds if found.seconds is not None else float("inf")
