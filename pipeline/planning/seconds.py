"""Predicted wall time of a job, from operation counts.

A rough model: it decides how many images make a job of bearable length and how much time to ask a
scheduler for, which is taken with a wide margin. It does not decide what is computed.
"""

import math

from pipeline.planning.memory import Work

# Sustained rates of transforms, which are bound by memory and caches: 2 cores reach about
# 6 GFLOP/s each in 3D; data-centre GPUs some TFLOP/s.
_FLOPS_PER_THREAD = 4e9
_FLOPS_ON_DEVICE = 5e11
_KERNEL_WIDTH = 6
_START_SECONDS = 4.0


def _fft_flops(voxels: float) -> float:
    return 5 * voxels * math.log2(max(voxels, 2))


def predicted_seconds(work: Work) -> float:
    """Return the predicted wall time of a job [s]."""
    axes = len(work.shape)
    voxels = float(math.prod(work.shape))
    spread = 16.0 * work.samples * float(_KERNEL_WIDTH**axes)
    transform = spread + _fft_flops(2.0**axes * voxels)
    flops = max(work.coils, work.kernels) * transform
    if work.algorithm not in ("gridding", "matched-filter"):
        if work.normal == "toeplitz":
            flops += 2 ** (axes - 1) * (spread + _fft_flops(voxels))
            normal = max(work.coils, work.kernels) * 1.2 * _fft_flops(2.0**axes * voxels)
        else:
            normal = 2 * work.coils * transform
        flops += work.iterations * normal
    rate = _FLOPS_ON_DEVICE if work.on_device else _FLOPS_PER_THREAD * work.threads
    return _START_SECONDS + work.images * flops / rate
