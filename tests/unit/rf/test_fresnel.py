import os
from pathlib import Path

import numpy as np
import pytest
from scipy.special import hankel2

from pipeline.engine.budget import Budget
from pipeline.errors import DataError
from pipeline.rf.formats.fresnel import RADIUS, read_fresnel
from pipeline.rf.geometry.antenna_paths import SPEED_OF_LIGHT

BUDGET = Budget("scan", 600)

ALL = slice(None)
VIEWS, RECEIVERS = 4, 241
GHZ = np.array([2.0, 3.0, 5.0])
POINT = np.array([0.03, -0.05])
CONTRAST_AREA = 2e-4


def header():
    return [
        "# Institut Fresnel, Marseille, FRANCE",
        f"# Number of frequencies : {len(GHZ)} (2 --> 5 GHz)",
        f"# Number of views : {VIEWS}",
        f"# Number of receivers : {RECEIVERS} per view.",
    ]


def on_circle(degrees):
    return RADIUS * np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])


def rows():
    """A thin cylinder in the first Born approximation, and an instrument with gains of its own."""
    table = []
    for view in range(1, VIEWS + 1):
        turn = (view - 1) * 360 // VIEWS
        transmitter = on_circle(turn)
        receivers = sorted((turn + 60 + step) % 360 + 1 for step in range(RECEIVERS))
        for receiver in receivers:
            position = on_circle(receiver - 1)
            direct = np.linalg.norm(position - transmitter)
            legs = [np.linalg.norm(POINT - antenna) for antenna in (transmitter, position)]
            k = 2e9 * np.pi * GHZ / SPEED_OF_LIGHT
            gain = np.exp(1j * GHZ**2) / GHZ
            incident, here, away = (
                -0.25j * hankel2(0, k * distance) for distance in (direct, *legs)
            )
            incident, scattered = gain * incident, gain * CONTRAST_AREA * k**2 * here * away
            for f, one, other in zip(GHZ, incident + scattered, incident, strict=True):
                table.append([view, receiver, f, one.real, one.imag, other.real, other.imag])
    return table


ROWS = rows()


def write(path, table=ROWS, lines=None):
    text = [*(header() if lines is None else lines)]
    text += [f"{v:3d} {r:4d} {f:6.1f} " + " ".join(f"{x: .9e}" for x in e) for v, r, f, *e in table]
    path.write_text("\n".join(text) + "\n")
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "target.exp"


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
def test_a_thin_cylinder_gives_its_contrast_and_path(path, order):
    history = read_fresnel(write(path, ROWS[::order]), "scan", BUDGET)
    np.testing.assert_array_equal(history.frequencies, GHZ * 1e9)
    assert history.measurements.shape == (VIEWS * RECEIVERS, len(GHZ))
    distance = np.linalg.norm(history.paths.transmitter, axis=1)
    np.testing.assert_allclose(distance, RADIUS)
    differences = history.paths.path_differences([*POINT, 0.0])
    k = 2 * np.pi * history.frequencies / SPEED_OF_LIGHT
    # Amplitudes differ by how far the cylinder is from the antennas, phases by half a degree
    # because 2D fields are spherical only far away.
    found = history.measurements[(ALL, ALL)] / CONTRAST_AREA
    np.testing.assert_allclose(np.abs(found), 1, atol=0.05)
    np.testing.assert_allclose(
        found / np.abs(found), np.exp(-1j * differences[:, None] * k), atol=1e-2
    )
    assert history.provenance["header"][0] == "Institut Fresnel, Marseille, FRANCE"


def changed(index, column, value):
    table = [list(row) for row in ROWS]
    table[index][column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (ROWS[:-2], "2890 rows, but its header tells of 4 views of 241 receivers at 3 freq"),
        ([*ROWS[:-1], ROWS[-2]], "expected each pair at each frequency once"),
        (changed(5, 2, 4.0), "expected each pair at each frequency once"),
        ([[v, r, f * 1e9, *e] for v, r, f, *e in ROWS], "in Hz already"),
        (changed(7, 3, np.nan), "the total field of view 1, receiver 63 at 3 GHz is nan"),
        (
            [[*row[:5], 0.0, 0.0] if row[0] == 2 and row[2] == 5 else row for row in ROWS],
            "the incident field of view 2, receiver 1 at 5 GHz is 0.*240 others",
        ),
    ],
)
def test_bad_rows(path, table, message):
    with pytest.raises(DataError, match=rf"scan: .*target\.exp.*{message}"):
        read_fresnel(write(path, table), "scan", BUDGET)


def test_one_zero_part_is_a_measurement(path):
    read_fresnel(write(path, changed(7, 3, 0.0)), "scan", BUDGET)


def test_no_receiver_opposite(path):
    kept = [row for row in ROWS if not (row[0] == 3 and row[1] == 1)]
    kept += [[3, 180, *row[2:]] for row in ROWS if row[0] == 3 and row[1] == 1]
    with pytest.raises(DataError, match="view 3 has no receiver opposite"):
        read_fresnel(write(path, kept), "scan", BUDGET)


def test_truncated_within_a_row(path):
    text = write(path).read_text()
    path.write_text(text[: len(text) // 2 + 20])
    with pytest.raises(DataError, match="is truncated or edited"):
        read_fresnel(path, "scan", BUDGET)


def test_not_of_this_database(path):
    with pytest.raises(DataError, match="not readable"):
        read_fresnel(path, "scan", BUDGET)
    with pytest.raises(DataError, match="no number of views in its header"):
        read_fresnel(write(path, lines=header()[:2]), "scan", BUDGET)
    path.write_text("\n".join([*header(), "1 61 2.0 0.5 0.5"]))
    with pytest.raises(DataError, match="has 5 columns; expected 7"):
        read_fresnel(path, "scan", BUDGET)


@pytest.mark.skipif("KRONUFFT_DATA" not in os.environ, reason="KRONUFFT_DATA names no data")
@pytest.mark.parametrize("target", ["FoamTwinDielTM", "FoamDielExtTM"])
def test_measured_cylinders(target):
    """A foam disk of 80 mm and, touching it, a denser cylinder of 31 mm at x = -55 mm."""
    source = Path(os.environ["KRONUFFT_DATA"]) / "fresnel" / f"{target}.exp"
    if not source.exists():
        pytest.skip(f"{source} is not there")
    history = read_fresnel(source, target, BUDGET)
    axis = np.arange(-20, 21) * 6e-3
    x, y = np.meshgrid(axis, axis, indexing="ij")
    points = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    k = 2 * np.pi * history.frequencies / SPEED_OF_LIGHT
    # Area of the wave vectors' plane per sample: the outlines stand out that a plain sum blurs.
    turn = np.abs(np.cross(history.paths.transmitter, history.paths.receiver)[:, 2:])
    values = history.measurements[(ALL, ALL)] * turn * k**2
    # Equally spaced frequencies: one exponential for all of them.
    rotation = np.exp(1j * (k[1] - k[0]) * history.paths.path_differences(points))
    wave = rotation ** round(k[0] / (k[1] - k[0]))
    image = np.zeros(len(points), np.complex128)
    for index in range(len(k)):
        image += values[:, index] @ wave
        wave *= rotation
    power = np.abs(image).reshape(x.shape) ** 2
    power /= power.max()
    disk, cylinder = np.hypot(x, y) / 0.04, np.hypot(x + 0.0555, y) / 0.0155
    inside = power[(disk < 1.1) | (cylinder < 1.3)].mean()
    outside = power[(disk > 1.3) & (cylinder > 1.8)].mean()
    assert inside > 10 * outside
    # Left edge of the cylinder, right edge of the disk: neither turned nor mirrored.
    cut = axis[power[:, axis.size // 2] > 0.2]
    np.testing.assert_allclose([cut[0], cut[-1]], [-0.071, 0.04], atol=8e-3)
