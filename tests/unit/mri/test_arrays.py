import h5py
import numpy as np
import pytest
import scipy.io

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.mri.formats.arrays import open_source

BUDGET = Budget("scan", 600)

FRAMES, COILS, READOUTS, SAMPLES = 3, 2, 4, 5
SHAPE = (6, 7)
ALL = slice(None)


@pytest.fixture
def data():
    rng = np.random.default_rng(6)
    kspace = rng.standard_normal((FRAMES, COILS, READOUTS, SAMPLES, 2)).view(np.complex128)[..., 0]
    return {
        "kspace": kspace,
        "trajectory": rng.uniform(-0.5, 0.5, (FRAMES, READOUTS, SAMPLES, 2)),
        "weights": rng.uniform(0, 1, (READOUTS, SAMPLES)),
        "sensitivities": rng.standard_normal((COILS, *SHAPE, 2)).view(np.complex128)[..., 0],
        "reference": rng.standard_normal((FRAMES, *SHAPE)),
    }


AXES = {
    "kspace": ["frame", "coil", "readout", "sample"],
    "trajectory": ["frame", "readout", "sample", "axis"],
    "weights": ["readout", "sample"],
    "sensitivities": ["coil", "y", "x"],
    "reference": ["frame", "y", "x"],
}


def settings(source, arrays, **details):
    details = {"arrays": arrays, **details}
    return IngestSettings(kind="mri", format="arrays", source=str(source), details=details)


def mapping(**changes):
    arrays = {name: {"name": name, "axes": axes} for name, axes in AXES.items()}
    arrays["trajectory"]["units"] = "cycles_per_voxel"
    return {**arrays, **changes}


def read(chosen):
    with open_source(chosen, "scan", BUDGET) as acquisition:
        return acquisition.shape, {
            name: array[(ALL,) * len(array.shape)] for name, array in acquisition.arrays.items()
        }


def check(found, data):
    shape, arrays = found
    assert shape == SHAPE
    np.testing.assert_array_equal(arrays["kspace"], data["kspace"])
    np.testing.assert_allclose(arrays["trajectory"], 2 * np.pi * data["trajectory"], rtol=1e-15)
    np.testing.assert_array_equal(arrays["weights"], data["weights"][None])
    np.testing.assert_array_equal(arrays["sensitivities"], data["sensitivities"][:, None])
    np.testing.assert_array_equal(arrays["reference"], data["reference"][:, None])


def write_hdf5(path, data):
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file[name] = values


def test_fields_of_a_compound_type_are_arrays(tmp_path):
    """Readouts in rows, with their samples and their trajectory beside numbers of no use here."""
    rng = np.random.default_rng(7)
    row = [("number", "i4"), ("samples", "c8", (SAMPLES,)), ("k", "f4", (SAMPLES, 2))]
    rows = np.zeros((COILS, READOUTS), row)
    rows["samples"] = (rng.standard_normal((*rows["samples"].shape, 2)) @ [1, 1j]).astype("c8")
    rows["k"] = rng.uniform(-0.5, 0.5, rows["k"].shape)
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("scan", data=rows, chunks=(1, 2), compression="gzip")
    arrays = {
        "kspace": {"name": "scan/samples", "axes": ["coil", "readout", "sample"]},
        "trajectory": {"name": "scan/k", "axes": ["[1]", "readout", "sample", "axis"]},
    }
    with open_source(settings(tmp_path / "scan.h5", arrays, shape=SHAPE), "scan", BUDGET) as found:
        kspace, k = found.arrays["kspace"], found.arrays["trajectory"]
        np.testing.assert_array_equal(kspace[ALL, ALL, 1:3, 2:4][0], rows["samples"][:, 1:3, 2:4])
        np.testing.assert_allclose(k[ALL, 1:4, 0:3, ALL][0], rows["k"][1, 1:4, :3], rtol=1e-6)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
def test_npz(tmp_path, data, save):
    ordered = {**data, "kspace": np.asfortranarray(data["kspace"])}
    save(tmp_path / "scan.npz", **ordered)
    check(read(settings(tmp_path / "scan.npz", mapping())), data)


def test_npy_files_in_a_folder(tmp_path, data):
    for name, values in data.items():
        np.save(tmp_path / f"{name}.npy", values)
    arrays = mapping()
    for name, array in arrays.items():
        array["file"] = f"{name}.npy"
        del array["name"]  # a file of one array
    check(read(settings(tmp_path, arrays)), data)


def test_hdf5_whatever_its_suffix(tmp_path, data):
    write_hdf5(tmp_path / "scan.dat", data)
    check(read(settings(tmp_path / "scan.dat", mapping())), data)


def test_matlab_v7_3(tmp_path, data):
    """MATLAB's HDF5: axes in reverse, complex numbers as pairs, a header before the HDF5 file."""
    path = tmp_path / "scan.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in data.items():
            stored = values.T
            if np.iscomplexobj(values):
                pairs = np.empty(stored.shape, [("real", "f8"), ("imag", "f8")])
                pairs["real"], pairs["imag"] = stored.real, stored.imag
                stored = pairs
            file[name] = stored
    arrays = mapping()
    for array in arrays.values():
        array["axes"] = array["axes"][::-1]
    check(read(settings(path, arrays)), data)


def test_matlab_v5(tmp_path, data):
    scipy.io.savemat(tmp_path / "scan.mat", data, do_compression=True)
    check(read(settings(tmp_path / "scan.mat", mapping())), data)


def test_parts_components_order_and_joined_axes(tmp_path, data):
    k = data["trajectory"]
    arrays = mapping(
        kspace={
            "real": "re", "imag": "im", "axes": ["coil", "1", "frame readout sample"],
            "conjugate": True, "scale": 2.0,
        },
        trajectory={
            "components": ["kx", "ky"], "axes": ["frame", "readout sample"],
            "axis_order": ["x", "y"], "units": "cycles_per_voxel",
        },
    )  # fmt: skip
    stored = data["kspace"].conj().transpose(1, 0, 2, 3).reshape(COILS, 1, -1) / 2
    write_hdf5(
        tmp_path / "scan.h5",
        {
            **data, "re": stored.real, "im": stored.imag,
            "ky": k[..., 0].reshape(FRAMES, -1), "kx": k[..., 1].reshape(FRAMES, -1),
        },
    )  # fmt: skip
    lengths = {"samples_per_readout": SAMPLES, "readouts_per_frame": READOUTS}
    check(read(settings(tmp_path / "scan.h5", arrays, **lengths)), data)


def test_complex_trajectory(tmp_path, data):
    k = data["trajectory"]
    write_hdf5(tmp_path / "scan.h5", {**data, "k": k[..., 1] + 1j * k[..., 0]})
    trajectory = {
        "name": "k", "axes": ["frame", "readout", "sample"], "axis_order": ["x", "y"],
        "units": "cycles_per_voxel",
    }  # fmt: skip
    check(read(settings(tmp_path / "scan.h5", mapping(trajectory=trajectory))), data)


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        ("rad_per_voxel", [1, 1]),
        ("cycles_per_voxel", [2 * np.pi, 2 * np.pi]),
        ("cycles_per_fov", [2 * np.pi / 6, 2 * np.pi / 7]),
        ("rad_per_m", [2e-3, 3e-3]),
        ("cycles_per_m", [2 * np.pi * 2e-3, 2 * np.pi * 3e-3]),
    ],
)
def test_units(tmp_path, data, units, factor):
    write_hdf5(tmp_path / "scan.h5", data)
    arrays = mapping()
    arrays["trajectory"]["units"] = units
    _, found = read(settings(tmp_path / "scan.h5", arrays, voxel_size=(2e-3, 3e-3)))
    np.testing.assert_allclose(found["trajectory"], data["trajectory"] * factor, rtol=1e-14)


def test_objects_are_refused(tmp_path, data):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a data file was unpickled",))

    np.savez(tmp_path / "scan.npz", **{**data, "kspace": np.array([Trap()], dtype=object)})
    with pytest.raises(DataError, match=r"scan: kspace: array `kspace` .* holds Python objects"):
        read(settings(tmp_path / "scan.npz", mapping()))
    np.save(tmp_path / "kspace.npy", np.array([Trap()], dtype=object))
    with pytest.raises(DataError, match="Python objects"):
        read(settings(tmp_path / "kspace.npy", mapping()))


def test_values_in_other_files_are_refused(tmp_path, data):
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset(
            "kspace", (4,), "f8", external=[(tmp_path / "elsewhere", 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(DataError, match="lie in other files"):
        read(settings(tmp_path / "scan.h5", mapping()))


def test_unreadable_files(tmp_path, data):
    np.savez(tmp_path / "scan.npz", **data)
    write_hdf5(tmp_path / "scan.h5", data)
    np.save(tmp_path / "kspace.npy", data["kspace"])
    for name, keep in (("scan.npz", 900), ("scan.h5", 900), ("kspace.npy", 90)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(DataError, match=rf"{name}.*not readable"):
            read(settings(path, mapping()))
    # Damage in the middle of a compressed member, which zlib or the checksum meets.
    np.savez_compressed(tmp_path / "scan.npz", **data)
    content = bytearray((tmp_path / "scan.npz").read_bytes())
    content[200:240] = bytes(40)
    (tmp_path / "scan.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"array `kspace` .* is not readable"):
        read(settings(tmp_path / "scan.npz", mapping()))
    (tmp_path / "text").write_text("not an array at all")
    with pytest.raises(DataError, match=r"it holds no numbers"):
        read(settings(tmp_path / "text", mapping()))
    (tmp_path / "bytes").write_bytes(b"\xffnot an array")
    with pytest.raises(DataError, match=r"neither NumPy.*begins with b'.xffnot an"):
        read(settings(tmp_path / "bytes", mapping()))


def test_short_npy_names_both_lengths(tmp_path, data):
    path = tmp_path / "kspace.npy"
    np.save(path, data["kspace"])
    path.write_bytes(path.read_bytes()[:-16])
    needed = data["kspace"].nbytes
    with pytest.raises(DataError, match=rf"needs {needed} bytes, there are {needed - 16}"):
        read(settings(path, mapping(kspace={"axes": AXES["kspace"]})))


@pytest.mark.parametrize(
    ("arrays", "details", "error"),
    [
        ({"kspace": {"axes": ["sample"], "name": "none"}}, {},
         (DataError, "scan: kspace: .* no array `none`; it holds kspace, reference")),
        ({"kspace": {"axes": ["sample"]}}, {}, (DataError, "holds 6 arrays .*set `name`")),
        ({"kspace": {"axes": ["sample"], "name": "text"}}, {}, (DataError, "expected numbers")),
        ({"kspace": {"axes": ["sample"], "name": "kspace", "file": "a"}}, {},
         (ConfigError, "itself a file")),
        ({}, {"shape": (6, 7, 8)}, (DataError, r"2 components, but `shape` \(6, 7, 8\)")),
        ({}, {"voxel_size": (1e-3,) * 3}, (ConfigError, "`voxel_size` has 3 values")),
        ({"trajectory": {"axes": AXES["trajectory"], "name": "trajectory",
                         "axis_order": ["z", "x"]}}, {}, (ConfigError, "expected y, x")),
    ],
)  # fmt: skip
def test_wrong_mapping(tmp_path, data, arrays, details, error):
    write_hdf5(tmp_path / "scan.h5", {**data, "text": "words"})
    kind, message = error
    with pytest.raises(kind, match=message):
        read(settings(tmp_path / "scan.h5", mapping(**arrays), **details))


def test_missing_source_file_and_matrix(tmp_path, data):
    with pytest.raises(DataError, match=r"scan: no such file or folder: .*gone.h5"):
        read(settings(tmp_path / "gone.h5", mapping()))
    with pytest.raises(ConfigError, match="at least kspace and trajectory"):
        read(settings(tmp_path, {}))
    with pytest.raises(ConfigError, match="is a folder; set `file`"):
        read(settings(tmp_path, mapping()))
    write_hdf5(tmp_path / "scan.h5", data)
    arrays = {name: mapping()[name] for name in ("kspace", "trajectory")}
    with pytest.raises(ConfigError, match=r"set `sources.scan.shape` to 2 sizes"):
        read(settings(tmp_path / "scan.h5", arrays))
