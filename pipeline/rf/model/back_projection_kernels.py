"""The inner loops of back-projection on a CPU, compiled by Numba.

Plain torch makes a dozen passes over all pulses times voxels, each through memory, and takes twenty
times as long. Here a few hundred voxels of one pulse stay in the first cache from their distance to
their share of the image. All are single precision: what is large, the distances to the middle of a
tile, is taken in double precision and leaves small differences.

The paths of one pulse to the voxels of a tile are, with ``u`` from the middle of the tile,
``A`` from an antenna to there, and ``R = |A|``,

    |A + u| = R + s / (sqrt(R^2 + s) + R),    s = 2 A.u + |u|^2,

which does not cancel. Reading lines where the paths end cannot be vectorised; so it is a loop of
its own, between loops that are.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"

import math
from typing import Any

import numpy as np
from numba import njit

_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
# Least squares over half a turn, in turns: right to 6e-6 and 1e-6.
_S = tuple(np.float32(c) for c in (6.283054, -41.331123, 81.3655, -74.47098, 32.7689))
_C = tuple(
    np.float32(c) for c in (0.9999992, -19.738981, 64.92866, -85.27162, 58.790493, -21.071106)
)


def _compiled(function):
    options: Any = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder to keep what is compiled in
        return njit(**options)(function)


@_compiled
def turned(t):
    """Return cosine and sine of an angle in turns, of at most half a turn."""
    q = t * t
    sine = t * (_S[0] + q * (_S[1] + q * (_S[2] + q * (_S[3] + q * _S[4]))))
    cosine = _C[0] + q * (_C[1] + q * (_C[2] + q * (_C[3] + q * (_C[4] + q * _C[5]))))
    return cosine, sine


@_compiled
def _middle(middle, transmitter, receiver, ranges):
    """Return both vectors to the middle of a tile with their lengths, and the path beyond ranges.

    The vectors are doubled, as they are used, and single precision like their lengths.
    """
    legs = np.empty((2, 4), np.float32)
    total = 0.0
    for leg in range(2):
        antenna = transmitter if leg == 0 else receiver
        square = 0.0
        for axis in range(3):
            component = middle[axis] - antenna[axis]
            legs[leg, axis] = 2 * component
            square += component * component
        length = math.sqrt(square)
        legs[leg, 3] = length
        total += length - ranges[leg]
    return legs, total


@_compiled
def _paths(offsets, legs, rest, turn, per_bin, carrier, gain, bins, weights, phases, amplitudes):
    """Write the bins before the paths over voxels, what is left of a bin, phases and amplitudes."""
    x, y, z, square = offsets[0], offsets[1], offsets[2], offsets[3]
    ax, ay, az, ar = legs[0, 0], legs[0, 1], legs[0, 2], legs[0, 3]
    bx, by, bz, br = legs[1, 0], legs[1, 1], legs[1, 2], legs[1, 3]
    ar2, br2 = ar * ar, br * br
    one_leg = ax == bx and ay == by and az == bz
    loss = gain > 0
    for v in range(len(bins)):
        s = square[v] + x[v] * ax + y[v] * ay + z[v] * az
        there = math.sqrt(ar2 + s)
        path = s / (there + ar)
        if one_leg:
            path, product = _TWO * path, there * there
        else:
            t = square[v] + x[v] * bx + y[v] * by + z[v] * bz
            back = math.sqrt(br2 + t)
            path, product = path + t / (back + br), there * back
        place = rest + path * per_bin
        whole = np.floor(place)
        bins[v] = np.int32(whole)
        weights[v] = place - whole
        cycles = turn + path * carrier
        phases[v] = cycles - np.floor(cycles + _HALF)
        amplitudes[v] = gain / product if loss else _ONE


@_compiled
def _weigh(offsets, middle, antenna, boresight, samples, amplitudes):
    """Multiply amplitudes by an antenna's pattern, read at the sine of half the angle."""
    square, along = 0.0, 0.0
    twice = np.empty(3, np.float32)
    for axis in range(3):
        component = middle[axis] - antenna[axis]
        square += component * component
        along += component * boresight[axis]
        twice[axis] = 2 * component
    ax, ay, az, ar2, ahead = twice[0], twice[1], twice[2], np.float32(square), np.float32(along)
    bx, by, bz = np.float32(boresight[0]), np.float32(boresight[1]), np.float32(boresight[2])
    x, y, z, own = offsets[0], offsets[1], offsets[2], offsets[3]
    places = np.empty(len(amplitudes), np.float32)
    last = np.float32(len(samples) - 1)
    for v in range(len(amplitudes)):
        distance = math.sqrt(ar2 + own[v] + x[v] * ax + y[v] * ay + z[v] * az)
        cosine = (ahead + x[v] * bx + y[v] * by + z[v] * bz) / distance
        places[v] = last * math.sqrt(min(_ONE, abs(_HALF - _HALF * cosine)))
    for v in range(len(amplitudes)):
        whole = np.uint64(min(places[v], last - _HALF))
        first = samples[whole]
        part = places[v] - np.float32(whole)
        amplitudes[v] *= first + part * (samples[whole + np.uint64(1)] - first)


@_compiled
def _of_pulse(
    offsets, middle, transmitter, receiver, ranges, step, start, turns, loss, boresights, samples,
    bins, weights, phases, amplitudes,
):  # fmt: skip
    """Write what `_paths` does, of one pulse; return the bin that its bins count from."""
    legs, here = _middle(middle, transmitter, receiver, ranges)
    first = math.floor(start + here / step)
    rest = np.float32(start + here / step - first)
    turn = np.float32(here * turns - math.floor(here * turns))
    gain = np.float32(ranges[0] * ranges[1] if loss else 0.0)
    per_bin, carrier = np.float32(1 / step), np.float32(turns)
    _paths(offsets, legs, rest, turn, per_bin, carrier, gain, bins, weights, phases, amplitudes)
    if len(samples):
        _weigh(offsets, middle, transmitter, boresights[0], samples, amplitudes)
        _weigh(offsets, middle, receiver, boresights[1], samples, amplitudes)
    return first


@_compiled
def gather(
    image, voxels, offsets, lines, transmitter, receiver, ranges, middle, step, start, turns, loss,
    boresights, samples,
):  # fmt: skip
    """Add to the voxels of a tile what the lines of some pulses hold at their paths.

    Parameters
    ----------
    image
        float32 ``[all voxels, 2]``.
    voxels
        Indices of the tile's voxels in the image.
    offsets
        float32 ``[4, voxel]``: from the middle of the tile along three coordinates [m], and the
        square of their length.
    lines
        Complex lines as int64 ``[pulse, bin]``; bin ``start`` is the path over the scene's origin.
    transmitter, receiver, ranges
        float64 ``[pulse, 3]`` and ``[pulse, 2]``: positions, and their distances to the origin [m].
    middle
        float64 ``[3]`` [m].
    step, turns
        float64 ``[pulse]``: metres between bins, and carrier [cycles/m].
    loss
        Whether fields fall with distance, relative to the origin.
    boresights, samples
        float64 ``[pulse, 2, 3]`` and float32; see `pipeline.rf.geometry.antenna_pattern`. No
        samples for antennas that see all directions alike.
    """
    count = len(voxels)
    bins, weights = np.empty(count, np.int32), np.empty(count, np.float32)
    phases, amplitudes = np.empty(count, np.float32), np.empty(count, np.float32)
    pairs = np.empty((count, 2), np.int64)
    values = pairs.view(np.float32)
    real, imag = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for pulse in range(len(lines)):
        first = _of_pulse(
            offsets, middle, transmitter[pulse], receiver[pulse], ranges[pulse],
            step[pulse], start, turns[pulse], loss, boresights[pulse], samples,
            bins, weights, phases, amplitudes,
        )  # fmt: skip
        line = lines[pulse]
        for v in range(count):
            place_ = np.uint64(first + bins[v])
            pairs[v, 0] = line[place_]
            pairs[v, 1] = line[place_ + np.uint64(1)]
        for v in range(count):
            w, t, a = weights[v], phases[v], amplitudes[v]
            re = a * (values[v, 0] + w * (values[v, 2] - values[v, 0]))
            im = a * (values[v, 1] + w * (values[v, 3] - values[v, 1]))
            cosine, sine = turned(t)
            real[v] += re * cosine - im * sine
            imag[v] += re * sine + im * cosine
    for v in range(count):
        image[voxels[v], 0] += real[v]
        image[voxels[v], 1] += imag[v]


@_compiled
def scatter(
    image, voxels, offsets, lines, transmitter, receiver, ranges, middle, step, start, turns, loss,
    boresights, samples,
):  # fmt: skip
    """Add the voxels of a tile to the lines of some pulses: the transpose of `gather`.

    ``lines`` are float32 ``[pulse, bin, 2]``; the rest is as there.
    """
    count = len(voxels)
    bins, weights = np.empty(count, np.int32), np.empty(count, np.float32)
    phases, amplitudes = np.empty(count, np.float32), np.empty(count, np.float32)
    real, imag = np.empty(count, np.float32), np.empty(count, np.float32)
    re, im = np.empty(count, np.float32), np.empty(count, np.float32)
    for v in range(count):
        re[v], im[v] = image[voxels[v], 0], image[voxels[v], 1]
    for pulse in range(len(lines)):
        first = _of_pulse(
            offsets, middle, transmitter[pulse], receiver[pulse], ranges[pulse],
            step[pulse], start, turns[pulse], loss, boresights[pulse], samples,
            bins, weights, phases, amplitudes,
        )  # fmt: skip
        for v in range(count):
            t, a = phases[v], amplitudes[v]
            cosine, sine = turned(t)
            real[v] = a * (re[v] * cosine + im[v] * sine)
            imag[v] = a * (im[v] * cosine - re[v] * sine)
        line = lines[pulse]
        for v in range(count):
            place_ = np.uint64(first + bins[v])
            w = weights[v]
            line[place_, 0] += (_ONE - w) * real[v]
            line[place_, 1] += (_ONE - w) * imag[v]
            line[place_ + np.uint64(1), 0] += w * real[v]
            line[place_ + np.uint64(1), 1] += w * imag[v]
