"""The real factor that brings an image closest to its reference."""

from pipeline.metrics.comparison import Column, Metric

METRIC = Metric(
    {"scale": Column("image: the real factor that brings it closest to the reference")},
    lambda compared: {"scale": compared.sums.scale},
)
