import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.formats.derived import (
    joined_components,
    joined_parts,
    real_and_imaginary,
    scaled,
)
from pipeline.formats.lazy import InMemory
from pipeline.formats.rearranged import Rearranged

KSPACE = ("frame", "coil", "readout", "sample")
SIZES = {"frame": 3, "coil": 2, "readout": 4, "sample": 5}
ALL = slice(None)


def random(*shape):
    rng = np.random.default_rng(4)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


@st.composite
def stored_axes(draw):
    """Axes in any order, some joined with the next, some left out, some of length one."""
    order = draw(st.permutations(KSPACE))
    order = order[: draw(st.integers(1, 4))]
    entries = [order[0]]
    for name in order[1:]:
        if draw(st.booleans()):
            entries[-1] += f" {name}"
        else:
            entries.append(name)
    for _ in range(draw(st.integers(0, 2))):
        entries.insert(draw(st.integers(0, len(entries))), "1")
    return entries


def test_one_of_a_longer_axis():
    stored = random(2, 3, 4, 5)
    axes = ["coil", "[2]", "readout", "sample"]
    found = Rearranged(InMemory(stored), axes, KSPACE, {}, "scan: kspace")
    assert found.shape == (1, 2, 4, 5)
    np.testing.assert_array_equal(found[0:1, 1:2, 1:4, ALL], stored[None, 1:2, 2, 1:4])
    for wrong, told in (("[3]", r"takes \[3\] of an axis of length 3"), ("1", r"`\[0\]` takes")):
        with pytest.raises(DataError, match=told):
            Rearranged(InMemory(stored), ["coil", wrong, *axes[2:]], KSPACE, {}, "scan: kspace")


@st.composite
def selections(draw):
    bounds = []
    for name in KSPACE:
        start = draw(st.integers(0, SIZES[name] - 1))
        bounds.append(slice(start, draw(st.integers(start + 1, SIZES[name]))))
    return tuple(bounds)


@given(axes=stored_axes(), selection=selections())
def test_any_stored_order(axes, selection):
    names = [name for entry in axes for name in entry.split() if name != "1"]
    ours = random(*(SIZES[name] if name in names else 1 for name in KSPACE))
    selection = tuple(
        part if name in names else slice(0, 1) for name, part in zip(KSPACE, selection, strict=True)
    )
    unjoined = ours.transpose([KSPACE.index(name) for name in names] + [
        index for index, name in enumerate(KSPACE) if name not in names
    ])  # fmt: skip
    sizes = [int(np.prod([SIZES[n] for n in e.split() if n != "1"], dtype=int)) for e in axes]
    mapped = Rearranged(InMemory(unjoined.reshape(sizes)), axes, KSPACE, SIZES, "test")
    assert mapped.shape == ours.shape
    np.testing.assert_array_equal(mapped[selection], ours[selection])


def test_one_length_of_a_joined_axis_follows_from_the_others():
    stored = random(24, 5)
    mapped = Rearranged(
        InMemory(stored), ["frame readout", "sample"], KSPACE, {"readout": 4}, "test"
    )
    assert mapped.shape == (6, 1, 4, 5)
    np.testing.assert_array_equal(mapped[(ALL,) * 4][:, 0], stored.reshape(6, 4, 5))


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((3, 4), ["frame"], r"2 axes \(3, 4\), but `axes` names 1 \(frame\)"),
        ((3, 4), ["1", "sample"], "gives as 1 has length 3"),
        ((3, 4), ["frame", "z"], "`z` does not belong.*frame, coil, readout, sample"),
        ((3, 14), ["frame", "readout sample"], r"length 14.*not a multiple of 5 \(sample\)"),
        ((60,), ["frame readout sample"], "split in more than one way.*readouts_per_frame"),
    ],
)
def test_contradictions(shape, axes, message):
    with pytest.raises(DataError, match=rf"^scan: kspace: .*{message}"):
        Rearranged(InMemory(random(*shape)), axes, KSPACE, {"sample": 5}, "scan: kspace")


def plain(values):
    return Rearranged(InMemory(values), KSPACE, KSPACE, {}, "test")


def test_values_in_parts():
    values = random(3, 2, 4, 5)
    selection = (slice(1, 3), ALL, slice(0, 2), slice(2, 5))
    both = joined_parts(plain(values.real), plain(values.imag), "test")
    np.testing.assert_array_equal(both[selection], values[selection])
    with pytest.raises(DataError, match=r"\(3, 2, 4, 5\).*\(1, 2, 4, 5\)"):
        joined_parts(plain(values.real), plain(values.imag[:1]), "test")


def test_components_and_their_order():
    stored = np.random.default_rng(5).standard_normal((3, 4, 5, 3))
    axes = ("frame", "readout", "sample", "axis")
    apart = [Rearranged(InMemory(stored[..., i]), axes[:3], axes, {}, "test") for i in range(3)]
    joined = joined_components(apart, "test")
    assert joined.shape == stored.shape
    selection = (slice(1, 2), slice(1, 4), ALL, slice(1, 3))
    np.testing.assert_array_equal(joined[selection], stored[selection])
    factor = np.array([1.0, 2.0, 3.0])
    turned = scaled(joined, factor, order=[2, 0, 1])
    expected = stored[..., [2, 0, 1]] * factor
    np.testing.assert_array_equal(turned[selection], expected[selection])
    with pytest.raises(DataError, match="different shapes"):
        joined_components(
            [apart[0], Rearranged(InMemory(stored[:2, ..., 0]), axes[:3], axes, {}, "test")],
            "test",
        )


def test_complex_numbers_as_a_plane():
    stored = random(3, 4, 5)
    axes = ("frame", "readout", "sample", "axis")
    plane = real_and_imaginary(Rearranged(InMemory(stored), axes[:3], axes, {}, "test"))
    assert plane.shape == (3, 4, 5, 2)
    np.testing.assert_array_equal(
        plane[(ALL, slice(1, 3), ALL, slice(1, 2))], stored.imag[:, 1:3, :, None]
    )


def test_scale_and_conjugate():
    values = random(3, 2, 4, 5)
    mapped = scaled(plain(values), -2.5, conjugate=True)
    np.testing.assert_allclose(mapped[(ALL,) * 4], -2.5 * values.conj())
