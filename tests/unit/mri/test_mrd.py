"""Readouts of ISMRMRD files, written by the package of its makers, become arrays."""

from contextlib import contextmanager

import h5py
import ismrmrd
import numpy as np
import pytest
from acquisitions import complex_normal
from mrd_files import header, readout, write_mrd

from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import whole
from pipeline.mri.formats import mrd, mrd_flags
from pipeline.mri.formats.readout_table import ROLES

RNG = np.random.default_rng(3)
COILS, SAMPLES = 3, 10


@contextmanager
def opened(path, budget_mb=600, **details):
    settings = IngestSettings(
        kind="mri", format="mrd", source=str(path), details=SourceSettings(**details)
    )
    with mrd.open_source(settings, "scan", Budget("scan", budget_mb)) as acquisition:
        yield acquisition


def refuses(path, kind, message, **details):
    with pytest.raises(kind, match=message), opened(path, **details):
        pass


def drawn(coils=COILS, samples=SAMPLES):
    return complex_normal(RNG, (coils, samples)), RNG.uniform(-0.5, 0.5, (samples, 2))


def test_flags_are_those_of_the_standard():
    for name, role in (
        ("IS_NOISE_MEASUREMENT", "noise"),
        ("IS_PARALLEL_CALIBRATION", "calibration"),
        ("IS_PARALLEL_CALIBRATION_AND_IMAGING", "image"),
        ("IS_NAVIGATION_DATA", "navigator"),
        ("IS_PHASECORR_DATA", "navigator"),
        ("IS_DUMMYSCAN_DATA", "dummy"),
        ("IS_RTFEEDBACK_DATA", "other"),
        ("IS_HPFEEDBACK_DATA", "other"),
        ("IS_SURFACECOILCORRECTIONSCAN_DATA", "other"),
        ("LAST_IN_REPETITION", "image"),
        ("FIRST_IN_ENCODE_STEP1", "image"),
        ("USER1", "image"),
    ):
        flag = np.array([1 << (getattr(ismrmrd, f"ACQ_{name}") - 1)], np.uint64)
        assert ROLES[mrd_flags.roles(flag)[0]] == role
    reverse = np.array([1 << (ismrmrd.ACQ_IS_REVERSE - 1), 1], np.uint64)
    assert mrd_flags.is_reverse(reverse).tolist() == [True, False]
    both = (1 << (ismrmrd.ACQ_IS_PARALLEL_CALIBRATION - 1)) | (
        1 << (ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING - 1)
    )
    assert mrd_flags.roles(np.array([both], np.uint64)) == [0]


@pytest.fixture
def series(tmp_path):
    """Two contrasts of three interleaved repetitions, with what else a scanner measures."""
    readouts = [
        readout(np.ones((COILS, 1)), np.zeros((1, 2)), flags=[ismrmrd.ACQ_IS_DUMMYSCAN_DATA])
    ]
    noise = [complex_normal(RNG, (COILS, 16)) for _ in range(2)]
    readouts += [readout(each, flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT], dwell=5) for each in noise]
    kspace = complex_normal(RNG, (6, COILS, 4, SAMPLES))
    k = RNG.uniform(-0.5, 0.5, (6, 4, SAMPLES, 2)).astype(np.float32)
    for line in range(4):
        for frame in range(6):
            contrast, repetition = divmod(frame, 3)
            readouts.append(
                readout(
                    np.pad(kspace[frame, :, line], ((0, 0), (2, 1))),
                    np.pad(k[frame, line], ((2, 1), (0, 0))),
                    discard=(2, 1), contrast=contrast, repetition=repetition, segment=line % 2,
                )
            )  # fmt: skip
        navigator = np.zeros((COILS, 40), np.complex64)
        readouts.append(readout(navigator, flags=[ismrmrd.ACQ_IS_NAVIGATION_DATA]))
    return write_mrd(tmp_path / "scan.h5", header((1, 8, 12)), readouts), kspace, k, noise


def test_readouts_become_frames_by_their_counters(series):
    path, kspace, k, noise = series
    with opened(path) as found:
        assert found.shape == (8, 12)
        assert found.voxel_size == (1e-3, 1e-3)
        np.testing.assert_array_equal(whole(found.arrays["kspace"]), kspace)
        # Component 0 is x, our last axis; cycles per voxel.
        np.testing.assert_allclose(whole(found.arrays["trajectory"]), 2 * np.pi * k[..., ::-1])
        np.testing.assert_array_equal(whole(found.arrays["noise"]), np.hstack(noise))
        assert found.provenance["left_out"] == [
            "2 readouts of noise",
            "4 readouts of navigators and phase corrections",
            "1 readouts of dummy scans",
        ]
        part = found.arrays["kspace"][slice(1, 4), slice(1, 3), slice(1, 3), slice(4, 9)]
        np.testing.assert_array_equal(part, kspace[1:4, 1:3, 1:3, 4:9])


@pytest.mark.parametrize(
    ("readouts", "frames"),
    [
        ({"select": {"contrast": 1}}, [[3], [4], [5]]),
        ({"frames": ["contrast"]}, [[0, 1, 2], [3, 4, 5]]),
        ({"frames": ["repetition", "contrast"]}, [[0], [3], [1], [4], [2], [5]]),
        ({"frames": []}, [[0, 1, 2, 3, 4, 5]]),
    ],
)
def test_settings_choose_and_join(series, readouts, frames):
    path, kspace, _, _ = series
    with opened(path, readouts=readouts) as found:
        expected = [
            kspace[joined].transpose(1, 2, 0, 3).reshape(COILS, -1, SAMPLES) for joined in frames
        ]
        np.testing.assert_array_equal(whole(found.arrays["kspace"]), expected)


def test_a_long_series_is_cut_into_frames(series):
    path, kspace, _, _ = series
    with opened(
        path, readouts={"select": {"contrast": 0}, "frames": []}, readouts_per_frame=5
    ) as found:
        in_order = kspace[:3].transpose(2, 0, 1, 3).reshape(12, COILS, SAMPLES)
        expected = in_order[:10].reshape(2, 5, COILS, SAMPLES).swapaxes(1, 2)
        np.testing.assert_array_equal(whole(found.arrays["kspace"]), expected)
        assert "1 frames with fewer than 5 readouts" in found.provenance["left_out"]
        assert found.doubts == ("scan: left out are 1 frames with fewer than 5 readouts",)


def test_a_scan_that_ended_early_is_doubted(tmp_path):
    """Every second line of eight, of the last of three repetitions none."""
    for repetitions, lines, missing in (
        (3, (0, 2, 4, 6), []),
        (2, (0, 2, 4, 6), ["repetition is 1 at most, where the header announces 2"]),
        (3, (0, 2, 4), ["kspace_encode_step_1 is 4 at most, where the header announces 7"]),
    ):
        xml = header((1, 8, SAMPLES), trajectory="cartesian", centres=(4,))
        limit = "<repetition><minimum>0</minimum><maximum>2</maximum></repetition>"
        xml = xml.replace("</encodingLimits>", f"{limit}</encodingLimits>")
        readouts = [
            readout(drawn()[0], kspace_encode_step_1=line, repetition=repetition)
            for repetition in range(repetitions)
            for line in lines
        ]
        path = write_mrd(tmp_path / f"{repetitions}-{len(lines)}.h5", xml, readouts)
        with opened(path) as found:
            expected = [f"scan: the measurement may be incomplete: {each}" for each in missing]
            assert list(found.doubts) == expected


def test_frames_that_share_their_trajectory_are_seen_to(tmp_path):
    k = RNG.uniform(-0.5, 0.5, (4, SAMPLES, 3)).astype(np.float32)
    k[..., 2] = 0  # a 2D sequence may write three components
    readouts = [
        readout(drawn()[0], k[line], repetition=frame) for frame in range(3) for line in range(4)
    ]
    path = write_mrd(tmp_path / "scan.h5", header((1, 8, 12)), readouts)
    with opened(path) as found:
        assert found.arrays["trajectory"].shape == (1, 4, SAMPLES, 2)
        assert found.arrays["kspace"].shape == (3, COILS, 4, SAMPLES)


def test_generated_trajectories_go_on_from_frame_to_frame(tmp_path):
    readouts = [readout(drawn()[0], repetition=n // 5) for n in range(10)]
    path = write_mrd(tmp_path / "scan.h5", header((1, 8, 8), trajectory="radial"), readouts)
    with opened(path, trajectory={"kind": "golden-radial"}) as found:
        k = whole(found.arrays["trajectory"]).reshape(10, SAMPLES, 2)
    radius = 2 * np.pi * (np.arange(SAMPLES) - SAMPLES // 2) / SAMPLES
    angles = np.radians(111.24611797498108 * np.arange(10))[:, None]
    np.testing.assert_allclose(
        k, np.stack([np.sin(angles) * radius, np.cos(angles) * radius], -1), atol=1e-12
    )
    with opened(path, trajectory={"kind": "golden-radial", "repeat": True}) as found:
        assert found.arrays["trajectory"].shape == (1, 5, SAMPLES, 2)
    refuses(path, ConfigError, r"header says only `radial`; set .* golden-radial")


def lines_of(image, steps, size, *, oversampling, centre=None):
    """Return readouts of an image at y steps: exact sums, [line, sample]."""
    rows, columns = image.shape
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    count = columns * oversampling
    kx = (np.arange(count) - count // 2) / count
    ky = (np.asarray(steps) - (size // 2 if centre is None else centre)) / rows
    return np.exp(-2j * np.pi * np.outer(ky, y)) @ image @ np.exp(-2j * np.pi * np.outer(x, kx))


@pytest.mark.parametrize("columns", [12, 9])
def test_cartesian_lines_are_placed_and_lose_their_oversampling(tmp_path, columns):
    image = complex_normal(RNG, (8, columns)).astype(np.complex128)
    steps = [5, 0, 2, 3, 7]
    lines = lines_of(image, steps, 8, oversampling=2)
    readouts = [
        readout(line[None], kspace_encode_step_1=n) for n, line in zip(steps, lines, strict=True)
    ]
    readouts[1].data[:] = readouts[1].data[:, ::-1]
    readouts[1].set_flag(ismrmrd.ACQ_IS_REVERSE)
    xml = header((1, 8, 2 * columns), (1, 8, columns), fov=(5, 16, 4 * columns),
                 image_fov=(5, 16, 2 * columns), trajectory="cartesian", centres=(4,))  # fmt: skip
    path = write_mrd(tmp_path / "scan.h5", xml, readouts)
    with opened(path, voxel_size=(3e-3, 1e-3)) as found:  # what a user says counts
        assert found.voxel_size == (3e-3, 1e-3)
        np.testing.assert_allclose(np.linalg.norm(found.affine[:3, :3], axis=0), (5e-3, 3e-3, 1e-3))
    with opened(path) as found:
        assert found.shape == (8, columns)
        np.testing.assert_allclose(found.voxel_size, (2e-3, 2e-3))
        assert found.provenance["oversampling_removed"] == [2 * columns, columns]
        kspace, k = (whole(found.arrays[name]) for name in ("kspace", "trajectory"))
    y, x = (np.arange(n) - n // 2 for n in image.shape)
    phases = k[0, ..., 0, None, None] * y[:, None] + k[0, ..., 1, None, None] * x
    expected = np.sum(image * np.exp(-1j * phases), axis=(-1, -2))
    np.testing.assert_allclose(kspace[0, 0], expected, atol=1e-5 * np.abs(expected).max())
    assert np.unique(np.round(k[0, :, 0, 0] * 8 / (2 * np.pi))).tolist() == [-4, -2, -1, 1, 3]


def test_partial_echoes_keep_the_field_of_view_that_was_measured(tmp_path):
    image = complex_normal(RNG, (6, 8)).astype(np.complex128)
    lines = lines_of(image, range(6), 6, oversampling=1)[:, 3:]
    readouts = [
        readout(line[None], kspace_encode_step_1=n, centre=1) for n, line in enumerate(lines)
    ]
    xml = header((1, 6, 8), (1, 6, 4), image_fov=(1, 6, 4), trajectory="cartesian")
    with opened(write_mrd(tmp_path / "scan.h5", xml, readouts)) as found:
        assert found.shape == (6, 8)
        np.testing.assert_allclose(whole(found.arrays["trajectory"])[0, 3, :, 1],
                                   2 * np.pi * (np.arange(5) - 1) / 8)  # fmt: skip
        np.testing.assert_array_equal(
            whole(found.arrays["kspace"])[0, 0], lines.astype(np.complex64)
        )


def test_the_affine_places_voxels_in_the_patient(tmp_path):
    a, b = np.radians([20, 35])  # double oblique
    turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]) @ np.array(
        [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    )
    read, phase, normal = turn.T
    position = np.array([11.0, -7.0, 23.0])
    samples, k = drawn()
    readouts = [readout(samples, k, position=position, directions=(normal, phase, read))]
    xml = header((1, 8, 12), fov=(5, 16, 36))
    with opened(write_mrd(tmp_path / "scan.h5", xml, readouts)) as found:
        affine = found.affine
    for y, x in ((4, 6), (0, 0), (7, 2)):
        left, back, up = position + (x - 6) * 3 * read + (y - 4) * 2 * phase
        # Left, posterior, superior to (superior, anterior, right) [m].
        np.testing.assert_allclose(
            affine @ [0, y, x, 1], [up / 1e3, -back / 1e3, -left / 1e3, 1], atol=1e-8
        )
    np.testing.assert_allclose(np.linalg.norm(affine[:3, 0]), 5e-3)


def test_what_is_wrong_is_told(tmp_path, series):
    path, *_ = series
    cases = [
        ({"readouts": {"select": {"contrast": 7}}}, ConfigError, r"contrast 7; there are 0, 1"),
        ({"readouts": {"encoding": 2}}, ConfigError, r"header has 1 encodings"),
        ({"trajectory": {"axis_order": ["z", "y", "x"]}}, ConfigError, r"the image has y, x"),
        ({"readouts_per_frame": 9}, ConfigError, r"only 4 readouts to make frames of"),
        ({"shape": (8, 8), "trajectory": {"kind": "cartesian"}}, ConfigError, r"tell their matrix"),
        ({"trajectory": {"kind": "kooshball"}}, ConfigError, r"kooshball is 3D, but `shape`"),
    ]  # fmt: skip
    for details, kind, message in cases:
        with pytest.raises(kind, match=message), opened(path, **details):
            pass
    line = [readout(drawn(samples=12)[0], kspace_encode_step_1=9)]
    beyond = write_mrd(tmp_path / "a.h5", header((1, 8, 12), trajectory="cartesian"), line)
    refuses(beyond, DataError, r"kspace_encode_step_1 is 9 to 9 with 4 in the centre")
    short = write_mrd(tmp_path / "b.h5", header((1, 16, 8), trajectory="cartesian"), line)
    refuses(short, DataError, r"12 samples .* but the encoded matrix has 8 along x")
    other = [*line, readout(drawn(samples=14)[0])]
    mixed = write_mrd(tmp_path / "c.h5", header((1, 16, 16)), other)
    refuses(mixed, DataError, r"1 readouts of 3 coils and 12 samples; 1 .* at readout 1",
            trajectory={"kind": "golden-radial"})  # fmt: skip
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["kspace"] = np.zeros(3)
    refuses(tmp_path / "d.h5", DataError, r"HDF5, but no ISMRMRD.* it holds kspace")
    (tmp_path / "e.h5").write_bytes(b"\0" * 64)
    refuses(tmp_path / "e.h5", DataError, r"is no ISMRMRD file")


def test_frames_of_different_lengths_are_told_and_left_out(tmp_path):
    readouts = [readout(drawn()[0], drawn()[1], repetition=frame) for frame in (0, 0, 1, 1, 2)]
    path = write_mrd(tmp_path / "scan.h5", header((1, 8, 8)), readouts)
    refuses(path, DataError, r"2 of 2 readouts, 1 of 1 readouts")
    with opened(path, readouts={"incomplete": True}) as found:
        assert found.arrays["kspace"].shape[0] == 2


def test_what_stands_before_the_file_moves_its_values(tmp_path):
    """A user block: addresses count from its end."""
    samples, k = drawn()
    path = write_mrd(tmp_path / "scan.h5", header((1, 8, 8)), [readout(samples, k)])
    path.write_bytes(bytes(512) + path.read_bytes())
    with opened(path) as found:
        np.testing.assert_array_equal(whole(found.arrays["kspace"])[0, :, 0], samples)


def test_values_that_do_not_follow_each_other_are_told_instead_of_read(tmp_path):
    """HDF5 never returns from an object of no size, nor from sizes that lead backwards."""
    readouts = [readout(*drawn()) for _ in range(3)]
    path = write_mrd(tmp_path / "scan.h5", header((1, 8, 8)), readouts)
    content = path.read_bytes()
    # The one collection: the header, the values of each readout, and the room that is left.
    collection = content.index(b"GCOL")
    end = collection + int.from_bytes(content[collection + 8 : collection + 16], "little")
    at, places = collection + 16, []
    while int.from_bytes(content[at : at + 2], "little"):
        places.append(at)
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    assert len(places) == 1 + 2 * len(readouts)
    assert int.from_bytes(content[at + 8 : at + 16], "little") == end - at
    for place in (*places, at):
        for damage in (bytes(16), content[place : place + 8] + b"\xe8" + b"\xff" * 7):
            damaged = tmp_path / "damaged.h5"
            damaged.write_bytes(content[:place] + damage + content[place + 16 :])
            refuses(damaged, DataError, r"values of varying length at byte \d+ do not end where")
    # In the list of readouts: where the second one lies, and the size of the third.
    with h5py.File(path) as file:
        listed = file["dataset/data"].id.get_chunk_info_by_coord((1,)).byte_offset
    at = content.index(listed.to_bytes(8, "little"))
    damaged.write_bytes(content[:at] + bytes(12) + content[at + 12 :])
    refuses(damaged, DataError, r"damaged\.h5 is damaged \(its list of readouts has gaps\)")
    # The first readout's samples, of which the header says how many there are.
    count = 2 * COILS * SAMPLES
    entry = content.index(count.to_bytes(4, "little") + collection.to_bytes(8, "little"))
    damaged.write_bytes(content[: entry + 4] + b"\xff" * 8 + content[entry + 12 :])
    with (
        opened(damaged, trajectory={"kind": "golden-radial"}) as found,
        pytest.raises(DataError, match="readouts 0 to 2 are not readable"),
    ):
        whole(found.arrays["kspace"])
    path.write_bytes(content[:entry] + b"\xff" * 4 + content[entry + 4 :])
    refused = pytest.raises(DataError, match=r"readout 0 says that it has more numbers")
    with opened(path, trajectory={"kind": "golden-radial"}) as found, refused:
        whole(found.arrays["kspace"])


@pytest.mark.parametrize("part", [0.5, 0.8, 0.97])
def test_whole_readouts_of_a_file_that_is_cut_off_are_counted(tmp_path, part):
    kspace = complex_normal(RNG, (40, 2, 700))
    readouts = [readout(each, drawn(samples=700)[1], repetition=n) for n, each in enumerate(kspace)]
    path = write_mrd(tmp_path / "scan.h5", header((1, 8, 8)), readouts)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refuses(path, DataError, r"is cut off: \d+ of its 40 readouts are whole")
    with opened(path, readouts={"incomplete": True}) as found:
        whole_ones = found.arrays["kspace"].shape[0]
        assert 0.9 * part * 40 - 2 < whole_ones <= 40 * part + 1
        np.testing.assert_array_equal(whole(found.arrays["kspace"])[:, :, 0], kspace[:whole_ones])
        assert found.provenance["whole_readouts"] == [whole_ones, 40]


def test_few_readouts_of_a_packed_file_are_read_at_a_time(tmp_path, monkeypatch):
    """HDF5 reads the samples of each row whose trajectory is asked for."""
    count, samples = 90, 12
    y = complex_normal(RNG, (count, COILS, samples))
    k = RNG.uniform(-0.5, 0.5, (count, samples, 2))
    plain = write_mrd(tmp_path / "plain.h5", header((1, 8, 8)), map(readout, y, k))
    packed = tmp_path / "packed.h5"
    with h5py.File(plain) as source, h5py.File(packed, "w") as target:
        group, stored = target.create_group("dataset"), source["dataset/data"]
        source.copy("dataset/xml", group)
        group.create_dataset("data", data=stored[:], dtype=stored.dtype, chunks=(10,), shuffle=True)
    read, at_once = mrd.MrdFile._read, []

    def noted(file, selection):
        at_once.append(len(range(count)[selection]))
        return read(file, selection)

    monkeypatch.setattr(mrd.MrdFile, "_read", noted)
    with opened(packed) as acquisition:
        found = {name: whole(acquisition.arrays[name])[0] for name in ("kspace", "trajectory")}
    np.testing.assert_allclose(found["kspace"], y.swapaxes(0, 1), rtol=1e-6)
    np.testing.assert_allclose(found["trajectory"], 2 * np.pi * k[..., ::-1], rtol=1e-5)
    assert max(at_once) == mrd._LISTS_AT_ONCE < count
