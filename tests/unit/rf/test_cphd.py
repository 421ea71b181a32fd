"""CPHD that sarkit wrote, imaged, and the SICD of the image read by sarkit: places on the Earth."""

from dataclasses import replace

import numpy as np
import pytest
from calibrating import calibrated_in
from cphd_files import Collection
from lxml import etree
from merged_images import merged_of
from rf_acquisitions import store
from sarkit import sicd
from sarkit.verification import CphdConsistency, SicdConsistency
from stage_runs import reconstructed

from pipeline.config.sources import IngestSettings
from pipeline.engine.budget import Budget
from pipeline.errors import ConfigError, DataError
from pipeline.merge.sicd import OUTPUT, write_sicd
from pipeline.merge.sicd_grid import SicdGrid
from pipeline.merge.sicd_metadata import metadata
from pipeline.rf.formats.cphd import open_source
from pipeline.storage.receipts import read_receipt

SLANT = {"plane": "slant", "scene": {"shape": [151, 200], "spacing": [0.12, 0.1]}}
CASES = {
    "as most files": ({}, {}, "exact"),
    "own bands, integers, other sign": (
        {"own_bands": True, "format": "CI4", "sign": 1, "silent": (0, 7, 8)}, {}, "exact",
    ),
    "own bands, slant plane": ({"own_bands": True, "grid": False}, SLANT, "W+D(fc)"),
}  # fmt: skip


def settings_of(path, **details):
    return IngestSettings.model_validate(
        {"kind": "rf", "format": "cphd", "source": str(path), "details": details}
    )


def opened(path, **details):
    return open_source(settings_of(path, **details), "scan", Budget("scan", 600))


@pytest.mark.parametrize("case", CASES)
def test_targets_are_where_they_were_put_on_the_earth(tmp_path, case):
    given, details, model = CASES[case]
    collection = Collection(**given)
    collection.write(tmp_path / "a.cphd")
    with (tmp_path / "a.cphd").open("rb") as file:
        checked = CphdConsistency.from_file(file)
    checked.check(ignore_patterns=[] if collection.grid else ["check_image_grid_exists"])
    assert not checked.failures()
    with opened(tmp_path / "a.cphd", **details) as acquisition:
        raw = store(tmp_path / "raw.json", acquisition)
    calibrated_in(tmp_path)
    images, _ = reconstructed(tmp_path, kind="rf", algorithm="matched-filter", model=model)
    merged = merged_of(tmp_path, images, affine=raw.affine, radar=raw.radar, chunks=(1, 1, 64, 50))
    write_sicd(tmp_path / "image.nitf", merged)

    with (tmp_path / "image.nitf").open("rb") as file:
        checked = SicdConsistency.from_file(file)
    checked.check(ignore_patterns=["check_iprbw_to_ss_osr"])  # how fine a grid is, is ours
    assert not checked.failures()
    assert len(checked.passes()) > 35
    with (tmp_path / "image.nitf").open("rb") as file, sicd.NitfReader(file) as reader:
        pixels, xml = reader.read_image(), reader.metadata.xmltree
    load = sicd.XmlHelper(xml).load
    spacing = np.array([load(f"{{*}}Grid/{{*}}{axis}/{{*}}SS") for axis in ("Row", "Col")])
    cell = [load(f"{{*}}Grid/{{*}}{axis}/{{*}}ImpRespWid") for axis in ("Row", "Col")]
    middle = load("{*}ImageData/{*}SCPPixel")
    for amplitude, place in enumerate(collection.places, 1):
        expected = sicd.scene_to_image(xml, place)[0] / spacing + middle
        peak, height = interpolated_peak(pixels, expected)
        found, *_ = sicd.image_to_ground_plane(
            xml, (peak - middle) * spacing, collection.origin, collection.axes[2]
        )
        assert np.linalg.norm(found - place) < 0.1 * min(cell)
        assert height == pytest.approx(amplitude, rel=0.03)
    # Relative to the middle of the band, spectra are about zero and as wide as it is told.
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(pixels))) ** 2
    for axis, name in enumerate(("Row", "Col")):
        along = spectrum.sum(1 - axis) / spectrum.sum()
        frequency = np.fft.fftshift(np.fft.fftfreq(len(along), spacing[axis]))
        width = load(f"{{*}}Grid/{{*}}{name}/{{*}}ImpRespBW")
        assert abs(along @ frequency) < 0.1 * width
        assert along[np.abs(frequency) < width / 2].sum() > 0.97


def interpolated_peak(pixels, near):
    """Row and column of the maximum within a pixel of ``near``, and its height."""
    rows, columns = (np.fft.fftfreq(size) for size in pixels.shape)
    spectrum = np.fft.fft2(pixels)
    steps = np.linspace(-1, 1, 101)
    along, across = (
        np.exp(2j * np.pi * np.outer(at + steps, axis))
        for at, axis in zip(near, (rows, columns), strict=True)
    )
    fine = np.abs(along @ spectrum @ across.T) / pixels.size
    best = np.unravel_index(fine.argmax(), fine.shape)
    return near + steps[list(best)], fine.max()


def test_samples_are_read_some_at_a_time(tmp_path):
    collection = Collection(silent=(0, 7, 8), sign=1)
    collection.write(tmp_path / "a.cphd")
    kept = np.delete(np.arange(collection.pulses), collection.silent)
    exact = np.conj(collection.signals[kept, 3:-2])
    with opened(tmp_path / "a.cphd") as acquisition:
        y = acquisition.arrays["y"]
        assert y.shape == (1, *exact.shape)
        for pulses, samples in ((slice(2, 40), slice(5, 17)), (slice(0, 1), slice(0, 9))):
            part = y[slice(0, 1), pulses, samples]
            np.testing.assert_allclose(part[0], exact[pulses, samples], rtol=1e-5, atol=1e-5)
        assert acquisition.scene.shape == (161, 155)
        # Four pulses about the silent ones are read with these.
        assert y.reading_bytes((1, 4, 3)) == 6 * collection.samples * 8 + 4 * 3 * 2 * 8
        # Line 80 and sample 90 are where positions count from.
        np.testing.assert_allclose(acquisition.scene.voxels_at(np.zeros((1, 3))), [[75, 80]])


def test_what_cannot_be_read_is_refused(tmp_path):
    Collection(grid=False).write(tmp_path / "a.cphd")
    with pytest.raises(ConfigError, match=r"no ImageGrid; give `scene`"):
        opened(tmp_path / "a.cphd").__enter__()
    with pytest.raises(DataError, match=r"no channel two; there are one"):
        opened(tmp_path / "a.cphd", channel="two").__enter__()
    for cut in (30, 700):
        (tmp_path / "b.cphd").write_bytes((tmp_path / "a.cphd").read_bytes()[:cut])
        with pytest.raises(DataError, match=r"b\.cphd: damaged, or no CPHD file"):
            opened(tmp_path / "b.cphd", **SLANT).__enter__()
    with pytest.raises(DataError, match=r"\(1, 2, 3, 4\).*one plane.*output\.sicd: false"):
        OUTPUT.check((1, 2, 3, 4))


@pytest.mark.parametrize(
    ("given", "mark"), [("UNCLASSIFIED//FOR USE BY ALL", "U"), (" top secret", "T"), ("", None)]
)
def test_what_a_collection_is_decides_of_its_sicd(tmp_path, given, mark):
    collection = Collection()
    collection.write(tmp_path / "a.cphd")
    with opened(tmp_path / "a.cphd") as acquisition:
        raw = store(tmp_path / "raw.json", acquisition)
    assert not OUTPUT.unsuited(raw, {})
    details = raw.radar.details | {"classification": given, "transmitted": "UNKNOWN"}
    radar = replace(raw.radar, details=details)
    grid = SicdGrid.of(raw.affine, (1, 1, *raw.shape), radar)
    if mark is None:
        with pytest.raises(DataError, match="its classification is ''"):
            metadata(grid, radar, "scan image")
    else:
        told = metadata(grid, radar, "scan image")
        assert told.file_header_part.security.clas == mark
        schema = etree.XMLSchema(file=sicd.VERSION_INFO["urn:SICD:1.4.0"]["schema"])
        assert schema.validate(told.xmltree), schema.error_log
    raw._radar["details"]["type"] = "BISTATIC"
    assert OUTPUT.unsuited(raw, {})


@pytest.mark.parametrize(("autofocus", "said"), [("none", "NO"), ("entropy", "GLOBAL")])
def test_a_sicd_tells_of_autofocus(tmp_path, autofocus, said):
    Collection().write(tmp_path / "a.cphd")
    with opened(tmp_path / "a.cphd", **SLANT) as acquisition:
        raw = store(tmp_path / "raw.json", acquisition)
    calibrated_in(tmp_path, autofocus=autofocus)
    stages = {"calibrate": read_receipt(tmp_path / "calibrate.json")}
    merged = merged_of(
        tmp_path,
        np.ones((1, 1, *raw.shape[::-1]), np.complex64),
        affine=raw.affine,
        radar=raw.radar,
        history=lambda: {"stages": stages},
    )
    write_sicd(tmp_path / "image.nitf", merged)
    with (tmp_path / "image.nitf").open("rb") as file, sicd.NitfReader(file) as reader:
        xml = reader.metadata.xmltree
    assert xml.findtext("{*}ImageFormation/{*}AzAutofocus") == said
    schema = etree.XMLSchema(file=sicd.VERSION_INFO["urn:SICD:1.4.0"]["schema"])
    assert schema.validate(xml), schema.error_log
