"""Non-Cartesian trajectories from formulas.

Each generator returns the trajectory of one frame as float64 ``[readout, sample, axis]`` in
rad/voxel within ``[-pi, pi)``, in the conventions of `pipeline.geometry.axes`. Readouts are
numbered through all frames: frame ``f`` continues where frame ``f - 1`` ended, so that the frames
of a dynamic series are sampled differently and may be joined. ``readouts`` are those of each frame;
generators take the ``selection`` of them that is wanted, so that a long trajectory can be made
piece by piece.
"""
