import json

import nibabel
import numpy as np
import pytest
from merged_images import merged_of, object_images, oriented_affine

from pipeline.errors import DataError
from pipeline.merge.bids import OUTPUT, write_bids
from pipeline.merge.nifti import write_nifti

SHAPE = (2, 3, 4, 5)
AFFINE = oriented_affine("oblique", SHAPE[1:])


def job(stage, **more):
    return {"stage": stage, "command": f"kronufft {stage}", **more}


HISTORY = {
    "stages": {
        "ingest": {
            "started": "2026-01-02T03:04:05+00:00",
            "ended": "2026-01-02T03:04:06+00:00",
            "inputs": {"/data/a.h5": "sha256:ab", "/data/b.h5": "cd"},
        },
        "reconstruct": {
            "started": "2026-01-02T03:04:07+00:00", "ended": "2026-01-02T03:04:09+00:00",
        },
        "merge": {
            "started": "2026-01-02T03:05:07+00:00",
            "ended": "2026-01-02T03:05:08+00:00",
            "versions": {"kronufft": "0.1.0", "numpy": "2.1.0"},
            "platform": {"system": "Linux-6.1", "machine": "x86_64", "python": "3.12.1"},
        },
    },
    "jobs": [job("ingest"), job("reconstruct", block="0"), job("reconstruct"), job("merge")],
}  # fmt: skip


def written(tmp_path, images, **given):
    told = {
        "affine": AFFINE,
        "oriented": True,
        "reconstruction": "cg-sense_2",
        "history": lambda: HISTORY,
    }
    merged = merged_of(tmp_path, object_images("oblique", SHAPE)[:images], **told, **given)
    write_bids(tmp_path / "bids", merged)
    return merged, tmp_path / "bids"


def names(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


ABOUT = [
    ".bidsignore",
    "README.md",
    "dataset_description.json",
    "prov/prov-kronufft_act.json",
    "prov/prov-kronufft_ent.json",
    "prov/prov-kronufft_env.json",
    "prov/prov-kronufft_soft.json",
]


def test_one_image(tmp_path):
    _, folder = written(tmp_path, 1)
    image = "sub-head/anat/sub-head_desc-cgsense2_T1w"
    assert names(folder) == [*ABOUT, f"{image}.json", f"{image}.nii.gz"]
    described = json.loads((folder / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    assert described["GeneratedBy"][0]["Name"] == "Kronufft"


def test_several_images_are_runs(tmp_path):
    merged, folder = written(tmp_path, 2)
    first = "sub-head/anat/sub-head_"
    expected = [*ABOUT, f"{first}desc-cgsense2_T1w.json"]
    files = [f"{first}run-{run}_desc-cgsense2_T1w.nii.gz" for run in (1, 2)]
    assert names(folder) == sorted([*expected, *files])
    for frame, name in enumerate(files):
        found = nibabel.load(folder / name)
        np.testing.assert_array_equal(found.get_fdata(), np.abs(merged.images[frame]).T)


def test_a_single_image_is_the_nifti_itself(tmp_path):
    merged = merged_of(tmp_path, np.ones((1, 2, 3, 4), "complex64"), history=lambda: HISTORY)
    write_nifti(tmp_path / "m.nii.gz", merged)
    merged.written["nifti"] = tmp_path / "m.nii.gz"
    write_bids(tmp_path / "bids", merged)
    (found,) = (tmp_path / "bids").rglob("*.nii.gz")
    assert found.samefile(tmp_path / "m.nii.gz")


def test_what_an_activity_used_is_described(tmp_path):
    _, folder = written(tmp_path, 1)
    records = {}
    for path in (folder / "prov").iterdir():
        for objects in json.loads(path.read_text()).values():
            records |= {one["Id"]: one for one in objects}
    activities = [one for one in records.values() if "Command" in one]
    stages = [one["Id"].removeprefix("bids::prov#") for one in activities]
    assert stages == ["ingest", "reconstruct", "merge"]
    assert "2 jobs" in activities[1]["Label"]
    for one in activities:
        assert {*one["Used"], one["AssociatedWith"]} <= records.keys()
    assert records["bids::prov#source-1"]["Digest"] == {"sha256": "ab"}
    (sidecar,) = (folder / "sub-head/anat").glob("*.json")
    assert json.loads(sidecar.read_text())["GeneratedBy"] in records


def test_too_large_for_nifti():
    with pytest.raises(DataError, match=r"40000.*32767.*output\.bids"):
        OUTPUT.check((1, 1, 40000, 8))
    OUTPUT.check((40000, 1, 8, 8))
