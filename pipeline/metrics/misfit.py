"""Which images leave more of their data than is plausible."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NOISE_MARGIN = 1.3
"""Noise that was estimated may be this much larger."""


def misfit_warning(blocks: Sequence[Mapping[str, Any]]) -> str | None:
    """Return what to tell of images whose data misfit is implausible; None if there are none.

    ``blocks`` are receipts of `reconstruct`. Plausible is what the noise and the algorithm leave,
    added as squares, but less than an image of zeros unless that is noise. Where the noise is not
    known nothing else is told.
    """
    images = list(_images(blocks))
    wrong = [one for one in images if one[1] >= one[2]]
    if not wrong:
        return None
    index, misfit, allowed, noise = max(wrong, key=lambda one: one[1] - one[2])
    which = f"image {index}" if len(images) > 1 else "the image"
    others = f" (and {len(wrong) - 1} of {len(images) - 1} others likewise)" if wrong[1:] else ""
    of_noise = "" if noise is None else f", where noise leaves {noise:.2f}"
    return (
        f"{which} leaves {misfit:.2f} of the data unexplained{others}; plausible is up to "
        f"{allowed:.2f}{of_noise}; check signs, order and units of the positions, and that "
        "maps, positions and data belong together and are in the same order"
    )


def _images(
    blocks: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[int, float, float, float | None]]:
    """Yield index, misfit, what is plausible, and what the noise leaves, of each image."""
    for block in blocks:
        misfits = block.get("misfit", ())
        expected = block.get("expected_misfit", [None] * len(misfits))
        for place, (misfit, noise) in enumerate(zip(misfits, expected, strict=True)):
            most = _NOISE_MARGIN * (noise or 0.0)
            plausible = 1.0 if noise is None else block["plausible_misfit"]
            allowed = max(most, min(1.0, math.hypot(most, plausible)))
            yield block["first_image"] + place, misfit, allowed, noise
