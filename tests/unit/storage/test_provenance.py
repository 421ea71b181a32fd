"""What an image says about where it comes from, after a real run of the stages."""

import json

import pytest
from small_run import Run

from pipeline.config.outputs import OutputSettings
from pipeline.report.history import show_history
from pipeline.storage.circumstances import installed_versions
from pipeline.storage.publish import open_published, read_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("run")).all()


@pytest.fixture(scope="module")
def history(run):
    return read_json(run.files.image.with_name("provenance.json"))


def test_each_stage_says_what_it_was_told_and_what_it_read(run, history):
    stages = history["stages"]
    assert list(stages) == ["ingest", "calibrate", "plan", "accumulate", "reconstruct", "merge"]
    assert stages["reconstruct"]["settings"]["reconstruction"]["iterations"] == 2
    assert stages["accumulate"]["jobs"] == 2
    for name in ("calibrate", "accumulate"):
        fingerprint = read_json(run.files.raw)["fingerprint"]
        assert stages[name]["inputs"][str(run.files.raw)] == fingerprint
    shares = [file for file in stages["reconstruct"]["inputs"] if file.endswith(".zarr.zip")]
    assert len(shares) == 2
    for stage in stages.values():
        assert len(stage["code"]) == 16
        assert stage["versions"] == installed_versions()
    assert [job["stage"] for job in history["jobs"]].count("accumulate") == 2
    assert {row["stage"] for row in history["plan"]} == {"accumulate", "reconstruct"}


def test_versions_are_those_that_the_packages_state():
    import numpy
    import pydantic_core
    import torch

    versions = installed_versions()
    assert versions["numpy"] == numpy.__version__
    assert versions["pydantic-core"] == pydantic_core.__version__
    assert torch.__version__.startswith(versions["torch"])


def test_the_same_again_is_the_same_to_the_last_byte(run, tmp_path):
    # The code of a job is what its process has loaded: here, after `run`, always the same.
    first, second = (read_json(Run(tmp_path / name).all().files.image) for name in ("a", "b"))
    assert first["fingerprint"] == second["fingerprint"]
    assert first["files"] == second["files"]
    stages = open_published(run.files.image).attrs["provenance"]["stages"]
    assert stages["merge"]["settings"] == {
        "output": OutputSettings(nifti=False).model_dump(),
        "frames_per_image": 1,
    }


def test_the_crate_is_closed_and_names_files_that_are_there(run):
    folder = run.files.image.parent
    crate = json.loads((folder / "ro-crate-metadata.json").read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    root = entities["./"]
    profiles = {profile["@id"] for profile in root["conformsTo"]}
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in profiles
    for part in root["hasPart"]:
        assert (folder / part["@id"]).exists(), part
    # What RO-Crate 1.1 and Workflow Run Crate 0.5 ask of the main workflow and of its run.
    workflow = entities[root["mainEntity"]["@id"]]
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow"} <= set(workflow["@type"])
    action = entities[root["mentions"]["@id"]]
    assert action["@type"] == "CreateAction"
    assert action["instrument"] == root["mainEntity"]
    assert action["startTime"] <= action["endTime"]
    outside = {"https://w3id.org/ro/crate/1.1"}
    for entity in crate["@graph"]:
        for identity in references(entity):
            assert (
                identity in entities or identity in outside or identity.startswith("https://pubs")
            )


def references(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "@id" and len(value) == 1:
                yield inner
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_shown_to_a_person(run, capsys):
    show_history(run.files.image.with_suffix(".zarr"), commands=True)
    shown = capsys.readouterr().out
    assert "reconstruct reconstruction.iterations = 2" in shown
    assert read_json(run.files.raw)["fingerprint"] in shown
    assert f"--forceall {run.files.image}" in shown
