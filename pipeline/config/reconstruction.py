"""What `reconstruct` sees."""

from pipeline.algorithms.registry import ParsedAlgorithm
from pipeline.config.equations import AccumulateSettings


class ReconstructSettings(AccumulateSettings):
    """Settings of `reconstruct`."""

    reconstruction: ParsedAlgorithm
    network: str | None = None
    """SHA-256 of the trained network's file, so that another network reconstructs again."""
