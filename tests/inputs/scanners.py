"""Files of scanners, and Cartesian grids, that are damaged, cut off, or contradict themselves."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import READOUTS, SAMPLES, SHAPE, acquisition, damaged, given, truth
from inputs.trial import Given, Trial, ingested, kind, kinds, whole


def mrd_given(**header_changes: Any) -> Given:
    """Write a good acquisition as an ISMRMRD file, with its trajectory in cycles per voxel."""
    from mrd_files import header, readout, write_mrd

    measured = acquisition()
    k = (measured["trajectory"][0] / (2 * np.pi))[..., ::-1]
    readouts = [
        readout(measured["kspace"][0][:, line], k[line], kspace_encode_step_1=line)
        for line in range(READOUTS)
    ]
    matrix = (1, *SHAPE)
    write_mrd(Path("scan.h5"), header(**{"encoded": matrix, **header_changes}), readouts)
    return _scanned("mrd", "scan.h5")


def twix_given() -> Given:
    """Write Cartesian lines of noise as a Siemens file."""
    from twix_files import block, end, header, write_twix

    drawn = np.random.default_rng(3).standard_normal((2, 12, 2, 16))
    lines = drawn[0] + 1j * drawn[1]
    blocks = [block(line, Lin=number, line_centre=6) for number, line in enumerate(lines)]
    write_twix(Path("scan.dat"), [header(base=8, columns=16, lines=12), *blocks, end()])
    return _scanned("twix", "scan.dat")


def mrd_slices_given() -> Given:
    """Write Cartesian lines of two slices and two repetitions, in turns."""
    from mrd_files import header, readout, write_mrd

    spectra = _spectra(4)
    readouts = [
        readout(spectra[2 * slice_ + frame, :, line], kspace_encode_step_1=line, slice=slice_,
                repetition=frame, position=(0, 0, 5 * slice_))
        for frame in range(2)
        for line in range(SHAPE[0])
        for slice_ in range(2)
    ]  # fmt: skip
    xml = header((1, *SHAPE), fov=(3, *SHAPE), trajectory="cartesian")
    write_mrd(Path("scan.h5"), xml, readouts)
    return _scanned("mrd", "scan.h5")


def mrd_generated_given() -> Given:
    """Write readouts whose trajectory is a formula's."""
    from mrd_files import header, readout, write_mrd

    measured = acquisition()["kspace"][0]
    readouts = [readout(measured[:, n], kspace_encode_step_1=n) for n in range(READOUTS)]
    write_mrd(Path("scan.h5"), header((1, *SHAPE)), readouts)
    made = _scanned("mrd", "scan.h5")
    made.config["sources"]["scan"]["trajectory"] = {"kind": "golden-radial"}
    return made


def mrd2_given() -> Given:
    """Write a good acquisition as a stream, on the matrix and in the units of its header."""
    import mrd
    from mrd2_files import stream

    measured = acquisition()
    k = (measured["trajectory"][0] / (2 * np.pi))[..., ::-1].astype(np.float32)
    plain = mrd.AcquisitionFlags(0)
    readouts = [
        (measured["kspace"][0][:, n].astype(np.complex64), k[n].T.copy(), plain, {})
        for n in range(READOUTS)
    ]
    stream("scan.mrd2", readouts)
    return _scanned("mrd2", "scan.mrd2")


def fastmri_given() -> Given:
    """Write slices as fastMRI does, without every third column."""
    import h5py
    from mrd_files import header

    kspace = _spectra(3).swapaxes(-1, -2).astype(np.complex64)
    kspace[..., 1::3] = 0
    with h5py.File("scan.h5", "w") as file:
        file["kspace"] = kspace
        file["ismrmrd_header"] = header((1, *SHAPE), trajectory="cartesian")
    return _scanned("fastmri", "scan.h5")


def grid_given() -> Given:
    """Write frames of a Cartesian grid, without some lines."""
    kspace = _spectra(2)
    kspace[..., 1::4, :] = 0
    np.save("scan.npy", kspace)
    made = _scanned("arrays", "scan.npy")
    axes = ["frame", "coil", "y", "x"]
    made.config["sources"]["scan"] |= {
        "arrays": {"kspace": {"axes": axes}}, "trajectory": {"kind": "cartesian"}
    }  # fmt: skip
    return made


def _spectra(images: int) -> np.ndarray:
    """Return the Cartesian k-space of several images, complex ``[image, coil, y, x]``."""
    seen = acquisition()["sensitivities"] * truth(images)[:, None]
    centred = np.fft.ifftshift(seen, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(centred), axes=(-2, -1))


def _scanned(format_: str, path: str) -> Given:
    made = given(format_, path)
    del made.config["sources"]["scan"]["shape"]
    return made


SCANNERS = {
    "mrd": mrd_given,
    "mrd slices": mrd_slices_given,
    "mrd generated": mrd_generated_given,
    "mrd2": mrd2_given,
    "twix": twix_given,
    "fastmri": fastmri_given,
    "grid": grid_given,
}


@kinds("good: scanner file", SCANNERS, 2)
def scanner_good(chance: Random, which: str) -> Trial:
    """Without the true maps, the image is that of the maps that are found."""
    made = SCANNERS[which]()
    made.write()
    # Lines of noise, and a matrix that is not that of the samples, are told of.
    may = "either" if which in ("twix", "mrd2", "mrd generated") else "accepted"
    return Trial(whole("merge"), may, about="good")


@kinds("damaged scanner file", SCANNERS, 8)
def scanner_damaged(chance: Random, which: str) -> Trial:
    made = SCANNERS[which]()
    path = Path(made.row["source"])
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    if which not in ("fastmri", "grid") and chance.random() < 0.3:
        made.config["sources"]["scan"]["readouts"] = {"incomplete": True}
    made.write()
    return Trial(whole("merge"), named=("scan", path.name), about=about)


@kinds("changed settings of scanner file", SCANNERS, 3)
def scanner_settings(chance: Random, which: str) -> Trial:
    """What the settings of a source may say of files that tell most themselves."""
    made = SCANNERS[which]()
    change = chance.choice(
        [
            {"voxel_size": [2e-3, 3e-3]},
            {"voxel_size": [2e-3, 3e-3, 1e-3]},
            {"voxel_size": [1e300, 1e-300]},
            {"slice_thickness": chance.choice([5e-3, 1e300])},
            {"shape": chance.choice([[14, 12], [8, 8], [4, 5, 6], [10**6, 10**6]])},
            {"frame_duration": chance.choice([0.1, 1e300])},
            {"dwell_time": chance.choice([1e-6, 1e300])},
            {"trajectory": {"kind": chance.choice(["cartesian", "spiral", "kooshball", "stored"])}},
            {"readouts_per_frame": chance.choice([1, 3, 10**9])},
            {"readouts": {"encoding": chance.choice([0, 7])}},
        ]
    )
    made.config["sources"]["scan"] |= change
    made.write()
    return Trial(whole("merge"), named=("scan", made.row["source"], "config"), about=str(change))


@kind("mrd: cut off", 6)
def mrd_cut_off(chance: Random) -> Trial:
    made = mrd_given()
    path = Path("scan.h5")
    content = path.read_bytes()
    at = chance.randrange(len(content) // 2, len(content) - 200)
    path.write_bytes(content[:at])
    made.write()
    return Trial(ingested, "refused", ("scan.h5",), about=f"cut off at {at} of {len(content)}")


@kind("mrd: contradictory header", 8)
def mrd_header(chance: Random) -> Trial:
    change, may = chance.choice(
        [
            ({"encoded": (1, 10**6, 14)}, "refused"),
            ({"encoded": (0, 12, 14)}, "refused"),
            ({"encoded": (1, "x", 14)}, "refused"),
            ({"encoded": (1, *SHAPE), "fov": (5, -1, 3)}, "refused"),
            ({"encoded": (1, *SHAPE), "fov": ("nan", 1, 3)}, "refused"),
            ({"encoded": (1, *SHAPE), "trajectory": "</trajectory>"}, "refused"),
            ({"encoded": (1, *SHAPE), "trajectory": "cartesian"}, "accepted"),
            ({"encoded": (SAMPLES, *SHAPE)}, "refused"),
        ]
    )
    made = mrd_given(**change)
    made.write()
    return Trial(ingested, may, ("scan", "scan.h5"), about=str(change))


@kind("mrd: settings", 6)
def mrd_settings(chance: Random) -> Trial:
    made = mrd_given()
    change = chance.choice(
        [
            {"readouts": {"encoding": 1}},
            {"readouts": {"select": {"slice": 5}}},
            {"readouts": {"frames": ["line"]}},
            {"readouts_per_frame": READOUTS + 1},
            {"trajectory": {"kind": "cartesian"}},
            {"trajectory": {"units": "rad_per_m"}},
            {"trajectory": {"kind": "kooshball"}},
            {"trajectory": {"kind": "spiral", "lines": 4}},
            {"trajectory": {"axis_order": ["z", "z", "z"]}},
        ]
    )
    made.config["sources"]["scan"] |= change
    made.write()
    return Trial(ingested, "refused", ("scan", "config.yaml"), about=str(change))
