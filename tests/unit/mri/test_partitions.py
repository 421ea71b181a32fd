"""Stacks of stars decoupled into slices, against the 3D solution and the object."""

from dataclasses import replace

import numpy as np
import pytest
from acquisitions import complex_normal

from pipeline.config.datasets import Dataset
from pipeline.config.file import load_config
from pipeline.config.sources import IngestSettings, SourceSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.formats.lazy import whole
from pipeline.in_process import run
from pipeline.mri.formats import arrays as array_reader
from pipeline.mri.formats.coil_arrays import coils_around
from pipeline.mri.formats.partitions import decoupled
from pipeline.mri.formats.phantoms import fourier_transform, random_ellipsoids, voxel_average
from pipeline.storage.publish import open_published

COILS, SPOKES, SAMPLES = 3, 23, 30
SETTINGS = {
    "cg": {"algorithm": "cg-sense", "weights": "none", "preconditioner": "none", "residual": 0,
           "iterations": 120, "regularization": 0.05},
    "gridding": {"algorithm": "gridding"},
}  # fmt: skip
AXES = {
    "kspace": ["frame", "coil", "readout", "sample"],
    "trajectory": ["frame", "readout", "sample", "axis"],
    "weights": ["frame", "readout", "sample"],
    "noise": ["coil", "sample"],
    "sensitivities": ["coil", "z", "y", "x"],
    "reference": ["frame", "z", "y", "x"],
}


def stack(shape, frames=1, *, inner="spoke", spokes=SPOKES):
    """Return ``[frame, readout, sample, axis]`` [rad/voxel], partitions from the centre out."""
    count = shape[0]
    partitions = sorted(range(-(count // 2), count - count // 2), key=abs)
    angle = np.arange(frames * spokes).reshape(frames, spokes) * 1.9416
    radius = np.pi * (np.arange(SAMPLES) - SAMPLES // 2) / (SAMPLES // 2)
    k = np.empty((frames, count, spokes, SAMPLES, 3))
    k[..., 0] = 2 * np.pi / count * np.array(partitions)[:, None, None]
    k[..., 1] = (np.sin(angle)[..., None] * radius)[:, None]
    k[..., 2] = (np.cos(angle)[..., None] * radius)[:, None]
    if inner == "partition":
        k = k.swapaxes(1, 2)
    return k.reshape(frames, count * spokes, SAMPLES, 3)


def write(path, **arrays):
    """Write a source; return its settings."""
    np.savez(path, **arrays)
    return {
        "shape": arrays["sensitivities"].shape[1:],
        "voxel_size": (0.004, 0.002, 0.001),
        "arrays": {name: {"name": name, "axes": AXES[name]} for name in arrays},
    }


def ellipsoids(path, shape, frames, inner):
    """Write exact k-space of ellipsoids, another object in each frame; return the settings."""
    trajectory, array = stack(shape, frames, inner=inner), coils_around(shape, COILS)
    objects = [random_ellipsoids(3, np.random.default_rng(frame)) for frame in range(frames)]
    kspace = [
        fourier_transform(one, shape, k.reshape(-1, 3), array.shifts, array.coefficients)
        for one, k in zip(objects, trajectory, strict=True)
    ]
    # |k| dk dangle / (2 pi)^2, and of the partitions one of so many.
    weights = np.hypot(*trajectory[..., 1:].T).T / (4 * (SAMPLES // 2) * SPOKES * shape[0])
    return write(
        path,
        kspace=np.reshape(kspace, (frames, COILS, -1, SAMPLES)),
        trajectory=trajectory,
        weights=weights,
        sensitivities=array.maps(),
        reference=np.stack([voxel_average(one, shape) for one in objects]),
    )


def reconstructed(folder, name, source, algorithm):
    config = load_config(
        {
            "data_root": str(folder),
            "compute": {"device": "cpu", "threads": 1, "precision": "double"},
            "nufft": {"tolerance": 1e-6},
            "output": {"ome_zarr": False, "nifti": True},
            "sources": {name: source},
            "calibration": {"consistency": False},
            "reconstructions": {algorithm: SETTINGS[algorithm]},
        }
    )
    row = Dataset(
        dataset=name, kind="mri", format="arrays", source="scan.npz", reconstructions=(algorithm,)
    )
    files = run(config, row, algorithm, folder / "results", until="merge")
    return files, open_published(files.image)["image"][:]


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("shape", "frames", "inner"),
    [((7, 14, 16), 1, "spoke"), ((6, 16, 14), 2, "partition")],
)
def test_slices_are_those_of_the_volume(shape, frames, inner, tmp_path):
    source = ellipsoids(tmp_path / "scan.npz", shape, frames, inner)
    truth = np.load(tmp_path / "scan.npz")["reference"]
    for algorithm in SETTINGS:
        _, volume = reconstructed(tmp_path, "volume", source, algorithm)
        apart = {**source, "decouple_partitions": True}
        files, planes = reconstructed(tmp_path, "slices", apart, algorithm)
        assert planes.shape == (shape[0] * frames, 1, *shape[1:])
        found = planes.reshape(shape[0], frames, *shape[1:]).swapaxes(0, 1)
        assert relative(found, volume) < 1e-4
        assert relative(found, truth) < relative(volume, truth) * 1.001 < 0.5
    raw = open_published(files.raw)
    assert raw.attrs["slices"] == shape[0]
    assert raw["trajectory"].shape[0] == (1 if frames == 1 else frames * shape[0])
    np.testing.assert_allclose(np.diag(raw.attrs["affine"]), [0.004, 0.002, 0.001, 1])
    stored = raw["reference"][:].reshape(shape[0], frames, *shape[1:])
    np.testing.assert_allclose(stored.swapaxes(0, 1), truth, rtol=1e-6)


def acquisition(folder, shape=(5, 9, 11), **changed):
    """Open a source of random numbers, with what differs; return the slices of it."""
    generator = np.random.default_rng(3)
    trajectory = changed.pop("trajectory", None)
    trajectory = stack(shape, spokes=4) if trajectory is None else trajectory
    frames, readouts = trajectory.shape[:2]
    arrays = {
        "kspace": complex_normal(generator, (frames, COILS, readouts, SAMPLES)),
        "trajectory": trajectory,
        "sensitivities": complex_normal(generator, (COILS, *shape)),
        **changed,
    }
    details = SourceSettings(**write(folder / "scan.npz", **arrays))
    settings = IngestSettings(
        kind="mri", format="arrays", source=str(folder / "scan.npz"), details=details
    )
    return array_reader.open_source(settings, "scan", Budget("scan", 600))


@pytest.mark.parametrize("shape", [(5, 9, 11), (4, 9, 11)])
def test_a_slice_is_the_sum_over_partitions(shape, tmp_path):
    trajectory = stack(shape, frames=3, spokes=4)
    frames, readouts = trajectory.shape[:2]
    generator = np.random.default_rng(5)
    kspace = complex_normal(generator, (frames, COILS, readouts, SAMPLES))
    noise = complex_normal(generator, (COILS, 50))
    reference = complex_normal(generator, (1, *shape))  # of all frames
    changed = {"kspace": kspace, "noise": noise, "reference": reference}
    with acquisition(tmp_path, shape, trajectory=trajectory, **changed) as source:
        arrays = decoupled(source, "scan", Budget("scan", 600)).arrays
        height = np.arange(shape[0]) - shape[0] // 2
        by_partition = kspace.reshape(frames, COILS, shape[0], 4, SAMPLES)
        kz = trajectory[0, ::4, 0, 0]
        turns = np.exp(1j * np.outer(height, kz)) / shape[0]
        expected = np.einsum("zp,fcprs->zfcrs", turns, by_partition)
        expected = expected.reshape(-1, COILS, 4, SAMPLES)
        np.testing.assert_allclose(whole(arrays["kspace"]), expected, atol=1e-5)
        volumes = np.repeat(reference[0], frames, axis=0)[:, None]
        np.testing.assert_array_equal(whole(arrays["reference"]), volumes)
        part = slice(2, 10), slice(1, 3), slice(1, 4), slice(3, 8)
        np.testing.assert_allclose(arrays["kspace"][part], expected[part], atol=1e-5)
        np.testing.assert_allclose(whole(arrays["noise"]), noise / np.sqrt(shape[0]), rtol=1e-6)


def moved(change):
    """Return a trajectory of partitions one after the other, with a change of it."""
    k = stack((5, 9, 11), spokes=4)
    return change(k.reshape(5, 4, SAMPLES, 3)).reshape(1, -1, SAMPLES, 3)


def turned(k):
    """Turn each partition by another angle in its plane."""
    k = k.copy()
    for number, plane in enumerate(k):
        cosine, sine = np.cos(0.3 * number), np.sin(0.3 * number)
        plane[..., 1:] = plane[..., 1:] @ np.array([[cosine, -sine], [sine, cosine]])
    return k


def holed(k):
    k = k.copy()
    k[2, 1, 3, 1] = np.nan
    return k


def tilted(k):
    k = k.copy()
    k[..., 0] += 0.02 * k[..., 1]
    return k


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k[:4], r"partition 2 has 0 readouts and partition .* expected as many in each"),
        (lambda k: k * [1.1, 1, 1], r"a partition lies at .*2\.2 cycles per field of view"),
        (turned, r"readout 4 of frame 0, number 0 of partition -1, is .* away from"),
        (holed, r"readout 9 of frame 0, number 1 of partition 1, is up to nan"),
        (tilted, r"k moves .* along z within a readout"),
    ],
)
def test_anything_but_a_full_stack_is_refused(change, message, tmp_path):
    with (
        acquisition(tmp_path, trajectory=moved(change)) as source,
        pytest.raises(DataError, match=f"^scan: `decouple_partitions`: {message}") as told,
    ):
        decoupled(source, "scan", Budget("scan", 600))
    assert "\n" not in str(told.value)


def test_frames_have_their_partitions_in_one_order(tmp_path):
    both = np.concatenate([stack((5, 9, 11), spokes=4), stack((5, 9, 11), spokes=4)[:, ::-1]])
    with acquisition(tmp_path, trajectory=both) as source, pytest.raises(DataError, match="order"):
        decoupled(source, "scan", Budget("scan", 600))


def test_what_differs_along_the_partitions_is_refused_as_it_is_read(tmp_path):
    generator = np.random.default_rng(1)
    kspace = complex_normal(generator, (1, COILS, 20, SAMPLES))
    kspace[:, 1] = 0  # a coil that was not connected
    weights = generator.uniform(1, 2, (1, 20, SAMPLES))
    with acquisition(tmp_path, kspace=kspace, weights=weights) as source:
        arrays = decoupled(source, "scan", Budget("scan", 600)).arrays
        assert not whole(arrays["kspace"])[:, 1].any()
        with pytest.raises(DataError, match=r"weights differ by .* leave them out"):
            whole(arrays["weights"])
    kspace[:, :, 16:] = 0
    with acquisition(tmp_path, kspace=kspace) as source:
        arrays = decoupled(source, "scan", Budget("scan", 600)).arrays
        with pytest.raises(DataError, match=r"partition 2 has readouts of zeros"):
            whole(arrays["kspace"])


def test_planes_and_temporal_bases_are_refused(tmp_path):
    with acquisition(tmp_path) as source:
        plane = replace(source, shape=source.shape[1:])
        with pytest.raises(ConfigError, match="is for volumes"):
            decoupled(plane, "scan", Budget("scan", 600))
        series = replace(source, arrays={**source.arrays, "basis": source.arrays["kspace"]})
        with pytest.raises(ConfigError, match="a series of slices"):
            decoupled(series, "scan", Budget("scan", 600))
