"""The live view of a run, where Snakemake looks for it: `snakemake --logger kronufft`."""

from pipeline.live.handler import LogHandler

__all__ = ["LogHandler"]
