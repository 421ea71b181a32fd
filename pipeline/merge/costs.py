"""What `merge` needs, from the sizes of images. Pure; temporaries were measured."""

from pipeline.config.outputs import OutputSettings
from pipeline.engine import processes
from pipeline.engine.images import Images
from pipeline.engine.needs import Need, largest
from pipeline.merge.chunks import storing_bytes
from pipeline.merge.outputs import EVERY, outputs
from pipeline.storage.receipts import RECEIPT_BYTES


def merge_memory(
    images: Images, *, threads: int, jobs: int, settings: OutputSettings | None = None
) -> Need:
    """Predict the peak memory of `merge`, which reads the receipts of all `jobs` of the plan.

    `threads` chunks are in work at a time; without settings all outputs are written.
    """
    at_once = min(threads, images.chunks)
    written = outputs(settings or EVERY).values()
    parts = largest(
        [
            {"chunks in work": storing_bytes(at_once, images.chunk_bytes)},
            *(output.needs(images, at_once) for output in written),
        ]
    )
    process = processes.MERGE + sum(output.resident_bytes for output in written)
    return Need({"process": process, "receipts": RECEIPT_BYTES * jobs, **parts})


def fitting_merge(
    images: Images, *, threads: int, jobs: int, host_mb: int, settings: OutputSettings | None = None
) -> tuple[int, Need]:
    """Return how many chunks can be in work within a limit [MB], at least one; and their need."""
    while True:
        need = merge_memory(images, threads=threads, jobs=jobs, settings=settings)
        if threads <= 1 or need.host_mb <= host_mb:
            return threads, need
        threads -= 1
