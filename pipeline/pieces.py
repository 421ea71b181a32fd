"""An axis in pieces, so that what is long is worked on a part at a time."""


def pieces(total: int, size: int) -> list[slice]:
    """Cut ``total`` elements into consecutive slices of at most ``size``."""
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]
