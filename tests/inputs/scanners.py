"""ISMRMRD and Siemens files that are damaged, cut off, or contradict themselves."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from inputs.acquired import READOUTS, SAMPLES, SHAPE, acquisition, damaged, given
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
    made = given("mrd", "scan.h5")
    del made.config["sources"]["scan"]["shape"]
    return made


def twix_given() -> Given:
    """Write Cartesian lines of noise as a Siemens file."""
    from twix_files import block, end, header, write_twix

    drawn = np.random.default_rng(3).standard_normal((2, 12, 2, 16))
    lines = drawn[0] + 1j * drawn[1]
    blocks = [block(line, Lin=number, line_centre=6) for number, line in enumerate(lines)]
    write_twix(Path("scan.dat"), [header(base=8, columns=16, lines=12), *blocks, end()])
    made = given("twix", "scan.dat")
    del made.config["sources"]["scan"]["shape"]
    return made


@kind("mrd: good", 2)
def mrd_good(chance: Random) -> Trial:
    made = mrd_given()
    made.write()
    # Without the true maps: the image is that of the maps that are found.
    return Trial(whole("merge"), "accepted", about="good")


@kinds("damaged scanner file", ["mrd", "twix"], 12)
def scanner_damaged(chance: Random, which: str) -> Trial:
    made = mrd_given() if which == "mrd" else twix_given()
    path = Path(made.row["source"])
    content, about = damaged(path.read_bytes(), chance)
    path.write_bytes(content)
    if chance.random() < 0.3:
        made.config["sources"]["scan"]["readouts"] = {"incomplete": True}
    made.write()
    return Trial(whole("merge"), named=("scan", path.name), about=about)


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
