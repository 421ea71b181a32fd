"""The pages of made-up results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results_tree import Made

from pipeline.config.outputs import MeasureSettings
from pipeline.stages.measure import measure
from pipeline.stages.report import report


def measure_run(run: Made, frames_per_image: int = 1) -> None:
    """Measure the images of a run."""
    measure(
        settings=MeasureSettings(frames_per_image=frames_per_image),
        dataset=run.dataset,
        reconstruction=run.reconstruction,
        raw=run.raw,
        image=run.image,
        plan=run.plan,
        receipts=run.receipts,
        metrics=run.metrics,
        receipt=run.receipt,
    )


def reported(results: Path, runs: Sequence[Made], frames_per_image: int = 1, **changed: Any) -> str:
    """Measure the runs, and return the report of them; ``changed`` adds to its inputs."""
    for run in runs:
        measure_run(run, frames_per_image)
    given: dict[str, Any] = {
        "metrics": [run.metrics for run in runs],
        "receipts": [path for run in runs for path in [*run.shared, run.receipt]],
        "images": [run.image for run in runs],
        "raws": [run.raw for run in runs],
    }
    given.update({name: given.get(name, []) + extra for name, extra in changed.items()})
    report(**given, report=results / "report.html", table=results / "metrics.csv")
    return (results / "report.html").read_text(encoding="utf-8")
