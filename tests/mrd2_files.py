"""Streams of MRD version 2, written by the package of its makers."""

import numpy as np


def stream(path, readouts, kind="OTHER"):
    """Write readouts: samples [coil, sample], trajectory [component, sample] or None, and more."""
    import mrd

    space = mrd.EncodingSpaceType(
        matrix_size=mrd.MatrixSizeType(x=12, y=8, z=1),
        field_of_view_mm=mrd.FieldOfViewMm(x=24.0, y=24.0, z=5.0),
    )
    encoding = mrd.EncodingType(
        encoded_space=space,
        recon_space=space,
        trajectory=getattr(mrd.Trajectory, kind),
        encoding_limits=mrd.EncodingLimitsType(),
    )
    with mrd.BinaryMrdWriter(str(path)) as writer:
        writer.write_header(mrd.Header(encoding=[encoding]))
        writer.write_data(
            mrd.StreamItem.Acquisition(
                mrd.Acquisition(
                    head=mrd.AcquisitionHeader(
                        flags=flags,
                        idx=mrd.EncodingCounters(**counters),
                        position=np.array([1, 2, 3], np.float32),
                        slice_dir=np.array([0, 0, 1], np.float32),
                        phase_dir=np.array([0, 1, 0], np.float32),
                        read_dir=np.array([1, 0, 0], np.float32),
                    ),
                    data=samples,
                    trajectory=np.zeros((0, 0), np.float32) if k is None else k,
                )
            )
            for samples, k, flags, counters in readouts
        )
    return path
