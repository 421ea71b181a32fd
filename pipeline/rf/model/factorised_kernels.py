"""The loops of factorised back-projection on a CPU, compiled by Numba.

See `pipeline.rf.model.factorisation`. At the nodes of a tile they are those of back-projection.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import numpy as np

from pipeline.rf.model.back_projection_kernels import _compiled, _of_pulse, gather, scatter, turned

_ONE = np.float32(1)


@_compiled
def _contracted(array, matrix):
    """Return ``[a, t, b] = sum_n matrix[t, n] array[a, n, b]`` of real numbers."""
    first, nodes, last = array.shape
    count = len(matrix)
    found = np.zeros((first, count, last), np.float32)
    for a in range(first):
        for t in range(count):
            row = found[a, t]
            for n in range(nodes):
                factor, values = matrix[t, n], array[a, n]
                for b in range(last):
                    row[b] += factor * values[b]
    return found


@_compiled
def _contracted_last(array, matrix):
    """Return ``[a, t] = sum_n matrix[n, t] array[a, n]`` of real numbers."""
    first, nodes = array.shape
    count = matrix.shape[1]
    found = np.zeros((first, count), np.float32)
    for a in range(first):
        row = found[a]
        for n in range(nodes):
            factor, values = array[a, n], matrix[n]
            for t in range(count):
                row[t] += factor * values[t]
    return found


@_compiled
def _interpolated(values, matrices):
    """Return values at voxels ``[voxel]`` of those at nodes, along all three axes."""
    one, two, three = matrices
    n1, n2, n3 = one.shape[1], two.shape[1], three.shape[1]
    found = values
    if len(three) > n3:
        found = _contracted_last(values.reshape(n1 * n2, n3), three.T.copy()).ravel()
    if len(two) > n2:
        found = _contracted(found.reshape(n1, n2, len(three)), two).ravel()
    if len(one) > n1:
        found = _contracted(found.reshape(1, n1, len(two) * len(three)), one).ravel()
    return found


@_compiled
def _condensed(values, matrices):
    """Return values at nodes of those at voxels: the transpose of `_interpolated`."""
    one, two, three = matrices
    n1, n2, n3 = one.shape[1], two.shape[1], three.shape[1]
    found = values
    if len(one) > n1:
        folded = found.reshape(1, len(one), len(two) * len(three))
        found = _contracted(folded, one.T.copy()).ravel()
    if len(two) > n2:
        found = _contracted(found.reshape(n1, len(two), len(three)), two.T.copy()).ravel()
    if len(three) > n3:
        found = _contracted_last(found.reshape(n1 * n2, len(three)), three).ravel()
    return found


@_compiled
def _turned(real, imag, phases, sign):
    """Multiply by ``exp(2 pi j sign phase)``, in place."""
    for v in range(len(real)):
        cosine, sine = turned(sign * phases[v])
        re, im = real[v], imag[v]
        real[v] = re * cosine - im * sine
        imag[v] = re * sine + im * cosine


@_compiled
def _middle_phases(offsets, middle, transmitter, receiver, ranges, step, start, turns):
    """Return the phases of the middle pulse at some places [turns]."""
    count = offsets.shape[1]
    bins, weights = np.empty(count, np.int32), np.empty(count, np.float32)
    phases, amplitudes = np.empty(count, np.float32), np.empty(count, np.float32)
    pulse = len(ranges) // 2
    _of_pulse(
        offsets, middle, transmitter[pulse], receiver[pulse], ranges[pulse],
        step[pulse], start, turns[pulse], False, np.zeros((2, 3)), np.zeros(0, np.float32),
        bins, weights, phases, amplitudes,
    )  # fmt: skip
    return phases


@_compiled
def gather_factorised(
    image, voxels, offsets, lines, transmitter, receiver, ranges, middle, step, start, turns, loss,
    boresights, samples, nodes, matrices, bounds,
):  # fmt: skip
    """Do as `gather` does, by sub-apertures between ``bounds``.

    ``nodes`` are offsets like those of voxels, and ``matrices`` take them there along each axis.
    """
    real, imag = np.zeros(len(voxels), np.float32), np.zeros(len(voxels), np.float32)
    places = np.arange(nodes.shape[1])
    for part in range(len(bounds) - 1):
        some = slice(bounds[part], bounds[part + 1])
        at_nodes = np.zeros((len(places), 2), np.float32)
        tx, rx, own = transmitter[some], receiver[some], ranges[some]
        steps, carriers = step[some], turns[some]
        gather(
            at_nodes, places, nodes, lines[some], tx, rx, own, middle, steps, start, carriers, loss,
            boresights[some], samples,
        )  # fmt: skip
        re, im = at_nodes[:, 0].copy(), at_nodes[:, 1].copy()
        _turned(re, im, _middle_phases(nodes, middle, tx, rx, own, steps, start, carriers), -_ONE)
        re, im = _interpolated(re, matrices), _interpolated(im, matrices)
        _turned(re, im, _middle_phases(offsets, middle, tx, rx, own, steps, start, carriers), _ONE)
        for v in range(len(voxels)):
            real[v] += re[v]
            imag[v] += im[v]
    for v in range(len(voxels)):
        image[voxels[v], 0] += real[v]
        image[voxels[v], 1] += imag[v]


@_compiled
def scatter_factorised(
    image, voxels, offsets, lines, transmitter, receiver, ranges, middle, step, start, turns, loss,
    boresights, samples, nodes, matrices, bounds,
):  # fmt: skip
    """Do as `scatter` does: the transpose of `gather_factorised`."""
    places = np.arange(nodes.shape[1])
    at_nodes = np.empty((len(places), 2), np.float32)
    for part in range(len(bounds) - 1):
        some = slice(bounds[part], bounds[part + 1])
        tx, rx, own = transmitter[some], receiver[some], ranges[some]
        steps, carriers = step[some], turns[some]
        re, im = np.empty(len(voxels), np.float32), np.empty(len(voxels), np.float32)
        for v in range(len(voxels)):
            re[v], im[v] = image[voxels[v], 0], image[voxels[v], 1]
        _turned(re, im, _middle_phases(offsets, middle, tx, rx, own, steps, start, carriers), -_ONE)
        re, im = _condensed(re, matrices), _condensed(im, matrices)
        _turned(re, im, _middle_phases(nodes, middle, tx, rx, own, steps, start, carriers), _ONE)
        for n in range(len(places)):
            at_nodes[n, 0], at_nodes[n, 1] = re[n], im[n]
        scatter(
            at_nodes, places, nodes, lines[some], tx, rx, own, middle, steps, start, carriers, loss,
            boresights[some], samples,
        )  # fmt: skip
