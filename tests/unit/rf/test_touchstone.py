"""Files of network analysers, written by hand: a file a position, and a matrix of all ports."""

import numpy as np
import pytest

from pipeline.config.sources import IngestSettings
from pipeline.errors import DataError
from pipeline.rf.raw import RfRawData
from pipeline.stages.ingest import ingest

FREQUENCIES = np.array([2e9, 2.5e9, 3.5e9])
RANDOM = np.random.default_rng(8)
SCAN = RANDOM.normal(size=(11, 3, 2, 2)) + 1j * RANDOM.normal(size=(11, 3, 2, 2))
GRID = {"shape": (4, 5), "spacing": (0.1, 0.1), "origin": (0, 0, 0.4)}
POSITIONS = "scan,x [m],y [m],z [m]\n" + "".join(f"{n},{n / 10},0.2,-0.5\n" for n in range(11))
FORMATS = {
    "RI": lambda s: (s.real, s.imag),
    "MA": lambda s: (abs(s), np.degrees(np.angle(s))),
    "DB": lambda s: (20 * np.log10(abs(s)), np.degrees(np.angle(s))),
}


def touchstone(matrix, form, unit="GHz", scale=1e9, parameter="S", shift=0.0):
    """Of two ports columns stand before rows, of more rows before columns."""
    lines = ["! measured", f"# {unit} {parameter} {form} R 50"]
    for frequency, one in zip(FREQUENCIES + shift, matrix, strict=True):
        ordered = one.T if len(one) == 2 else one
        numbers = [f"{v:.9g}" for s in ordered.ravel() for v in FORMATS[form](s)]
        lines.append(" ".join([f"{frequency / scale:.9g}", *numbers]))
    return "\n".join(lines) + "\n"


def brought_in(folder, arrays):
    settings = {"kind": "rf", "format": "arrays", "source": str(folder)}
    settings["details"] = {"scene": GRID, "arrays": arrays}
    ingest(
        settings=IngestSettings.model_validate(settings),
        dataset="scan",
        raw=folder / "raw.json",
        receipt=folder / "ingest.json",
    )
    return RfRawData.open(folder / "raw.json")


MAPPING = {
    "y": {"file": "at_*.s2p", "name": "s21", "axes": ["pulse", "freq"]},
    "frequencies": {"file": "at_0.s2p", "name": "frequencies", "axes": ["freq"]},
    "transmitter": {"file": "where.csv", "components": ["x [m]", "y [m]", "z [m]"],
                    "axes": ["pulse"]},
}  # fmt: skip


def write_scan(folder):
    for index, matrix in enumerate(SCAN):
        text = touchstone(matrix, ("RI", "MA", "DB")[index % 3])
        (folder / f"at_{index}.s2p").write_text(text)
    (folder / "where.csv").write_text(POSITIONS)


def test_a_file_for_each_position(tmp_path):
    write_scan(tmp_path)
    raw = brought_in(tmp_path, MAPPING)
    np.testing.assert_allclose(raw.frequencies, FREQUENCIES)
    np.testing.assert_allclose(raw.pulse_measurements(0), SCAN[:, :, 1, 0], rtol=1e-5)
    np.testing.assert_allclose(raw.paths(0).transmitter[[2, 10], 0], [0.2, 1.0])


def test_a_matrix_of_all_ports(tmp_path):
    matrix = RANDOM.normal(size=(3, 3, 3)) + 1j * RANDOM.normal(size=(3, 3, 3))
    (tmp_path / "array.s3p").write_text(touchstone(matrix, "RI", "MHz", 1e6))
    np.savetxt(tmp_path / "antennas.csv", RANDOM.normal(size=(3, 3)) - [0, 0, 5], delimiter=",")
    antennas = {"file": "antennas.csv", "axes": ["element", "coordinate"]}
    raw = brought_in(
        tmp_path,
        {
            "y": {"file": "array.s3p", "axes": ["freq", "rx", "tx"]},
            "frequencies": {"file": "array.s3p", "name": "frequencies", "axes": ["freq"]},
            "tx": antennas,
            "rx": antennas,
        },
    )
    # s[i, j] is received by port i and sent by port j; transmitters come first in ours.
    np.testing.assert_allclose(raw.measurements(0, 0), matrix.swapaxes(1, 2), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (touchstone(SCAN[3], "RI", shift=1e6), r"at_3\.s2p was measured at other frequencies"),
        (touchstone(SCAN[3], "RI", parameter="Y"), r"at_3\.s2p is not readable \(it holds y-para"),
        ("# GHz S RI R 50\n1 2 3 4\n", r"at_3\.s2p is not readable"),
        (
            touchstone(SCAN[3], "RI").rpartition("\n3.5")[0],
            r"at_3\.s2p holds an array of shape \(2",
        ),
    ],
)
def test_one_file_that_does_not_fit_is_named(tmp_path, wrong, message):
    write_scan(tmp_path)
    (tmp_path / "at_3.s2p").write_text(wrong)
    with pytest.raises(DataError, match=message):
        brought_in(tmp_path, MAPPING)


def test_a_pattern_that_nothing_matches_is_named(tmp_path):
    write_scan(tmp_path)
    with pytest.raises(DataError, match=r"of_\*\.s2p: no such file"):
        brought_in(tmp_path, MAPPING | {"y": MAPPING["y"] | {"file": "of_*.s2p"}})
