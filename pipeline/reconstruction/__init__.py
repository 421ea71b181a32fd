"""From measured samples to images: what a reconstruct job does, for each kind of data."""

from pipeline.reconstruction.equations import (
    Sampling,
    Transforms,
    coil_tiles,
    normal_operator,
    right_hand_side,
)

__all__ = ["Sampling", "Transforms", "coil_tiles", "normal_operator", "right_hand_side"]
