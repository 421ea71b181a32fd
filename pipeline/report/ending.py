"""What stands at the end of a run: where its images are, what failed and why, and how to go on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.report.failures import find_failures
from pipeline.storage.publish import read_json
from pipeline.storage.receipts import warnings_of

_MOST_ROWS = 20
"""Of images that were made; what failed is told in full."""


def ending(
    reconstructions: Sequence[tuple[str, str]],
    results: Path,
    logs: Path,
    receipts: Sequence[Path],
    page: Path,
    again: str | None = None,
) -> Iterator[str]:
    """Yield the lines of a run's end: what a user needs next stands last.

    Parameters
    ----------
    reconstructions
        Pairs (dataset, reconstruction) that the run is to make.
    results, logs
        Folders of the run.
    receipts
        Of all stages that may doubt an image; those that are missing are passed over.
    page
        The report, of all or of what there is so far; older than an image it is not named.
    again
        The command that goes on, where the run failed.
    """
    # What an earlier run has made may still be there: in a run that failed, logs tell.
    failures = [one for one in find_failures(reconstructions, (), logs) if one.jobs and again]
    failed = {(one.dataset, one.reconstruction) for one in failures}
    images = {names: Path(results, *names, "image.json") for names in reconstructions}
    made = [names for names, image in images.items() if image.is_file() and names not in failed]
    width = max((len(" · ".join(names)) for names in made), default=0)
    for names in made[:_MOST_ROWS]:
        yield f"  {' · '.join(names):{width}}  {images[names].with_suffix('.zarr')}"
    if len(made) > _MOST_ROWS:
        yield f"  and {len(made) - _MOST_ROWS} more, in {results}/<dataset>/<reconstruction>"
    latest = max((images[names].stat().st_mtime for names in made), default=0.0)
    if page.is_file() and page.stat().st_mtime >= latest:
        yield f"  {'report':{width}}  {page}"
    if rest := len(images) - len(made) - len(failures):
        yield f"  {rest} of {len(images)} have no image yet"
    for warning in warnings_of(read_json(path) for path in receipts if path.is_file()):
        yield f"kronufft: warning: {warning}"
    for failure in failures:
        yield f"kronufft: {failure}"
    if again:
        yield f"kronufft: mend it, then go on with: {again}"
