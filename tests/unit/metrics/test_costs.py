"""What measuring holds, in bytes, beside what was planned."""

import tracemalloc

import numpy as np
from acquisitions import complex_normal

from pipeline.engine import processes
from pipeline.engine.images import Images
from pipeline.metrics import costs
from pipeline.metrics.comparison import Comparison
from pipeline.metrics.images import image_metrics
from pipeline.storage.acquired import Acquired


def test_comparing_slabs_holds_what_was_planned(monkeypatch):
    shape = (12, 150, 140)
    monkeypatch.setattr(costs, "_SLAB_VOXELS", 4 * 150 * 140)
    random = np.random.default_rng(1)
    image, reference = (complex_normal(random, shape).astype(np.complex64) for _ in range(2))

    def slabs():
        for first in range(0, 12, 4):
            part = slice(first, first + 4)
            yield image[part].copy(), reference[part]

    image_metrics(Comparison(slabs), compares=True)  # imports and caches
    tracemalloc.start()
    image_metrics(Comparison(slabs), compares=True)
    _, measured = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    acquired = Acquired("mri", shape, 1, {"reference": (1, *shape)}, "other", ())
    images = Images((1, *shape), 8)
    monkeypatch.setattr(Images, "chunk", (1, 4, 150, 140))
    # The reference is a view of what was there before, and tables are not loaded.
    monkeypatch.setattr(processes, "TABLES", processes.MERGE)
    need = costs.measure_memory(acquired, images, jobs=0)
    held = need.host_bytes - need.host["process"] - need.host["reference"]
    assert measured <= held + 20_000  # of Python's own objects
    assert held <= 1.15 * measured
