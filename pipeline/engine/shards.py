"""How a block's measurement is cut into shards. Pure.

Channels are cut first: every coil has the same samples, so that the first range of channels makes
the kernel once for all, and a share of the others is an image and no more. Readouts are cut only
where there are more shards than channels: each range of readouts then needs a kernel of its own.
"""

from collections.abc import Iterator

from pipeline.errors import PlanError


def shard_ranges(
    channels: int, readouts: int, shards: int, *, cut_readouts: bool = True
) -> list[tuple[range, range]]:
    """Return the channels and readouts of each shard of the measurement of one image.

    They cover every readout of every channel once, in order. Ranges of channels of the same
    readouts differ by one channel at most, and so do those of readouts by one readout. Readouts may
    not be cut where the squares of coil images are added: a coil's image must be whole before it
    is squared. Raises `PlanError` if there are fewer pieces than shards.

    Examples
    --------
    >>> shard_ranges(8, 100, 3)
    [(range(0, 3), range(0, 100)), (range(3, 6), range(0, 100)), (range(6, 8), range(0, 100))]
    >>> shard_ranges(1, 100, 2)
    [(range(0, 1), range(0, 50)), (range(0, 1), range(50, 100))]
    """
    most = channels * (readouts if cut_readouts else 1)
    if not 1 <= shards <= most:
        whole = f"{channels} channels" + (f" of {readouts} readouts" if cut_readouts else "")
        why = "" if cut_readouts else " (without coil maps a coil's readouts stay together)"
        raise PlanError(
            f"memory.shards: {shards} shards, but {whole} are at most {most} pieces{why}; "
            "ask for fewer"
        )
    rows = -(-shards // channels)
    pieces = []
    for part, columns in zip(_even(readouts, rows), _even(shards, rows), strict=True):
        pieces += [(some, part) for some in _even(channels, len(columns))]
    return pieces


def _even(total: int, pieces: int) -> Iterator[range]:
    """Cut ``range(total)`` into consecutive ranges of almost the same length."""
    short, longer = divmod(total, pieces)
    first = 0
    for piece in range(pieces):
        last = first + short + (piece < longer)
        yield range(first, last)
        first = last
