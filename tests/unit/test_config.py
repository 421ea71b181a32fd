import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.algorithms.registry import ALGORITHMS, parse_algorithm, settings_class
from pipeline.config.base import canonical_json, load_yaml, parse_settings
from pipeline.config.calibration import CalibrationSettings
from pipeline.config.datasets import (
    DATASET_COLUMNS,
    find_source_files,
    load_datasets,
    stage_settings,
)
from pipeline.config.equations import Known, image_count
from pipeline.config.file import ComputeSettings, Config, load_config, read_config
from pipeline.config.outputs import OutputSettings
from pipeline.config.planning import MemorySettings, PlanSettings
from pipeline.config.readouts import ReadoutSettings
from pipeline.config.schema import config_schema
from pipeline.config.sources import ArraySettings, BartSettings, SimulationSettings, SourceSettings
from pipeline.config.training import TrainSettings
from pipeline.config.trajectories import TrajectorySettings
from pipeline.config.transforms import NufftSettings
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
MINIMAL = {"reconstructions": {"gridding": {"algorithm": "gridding"}}}


SIMULATION = {"trajectory": "golden-radial", "readouts": 5, "samples": 16}


def _table(tmp_path: Path, *rows: str, header: str = "\t".join(DATASET_COLUMNS)) -> Path:
    path = tmp_path / "datasets.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.mark.parametrize(
    "path",
    [ROOT / "config/config.yaml", *sorted((ROOT / "config/examples").glob("*.yaml"))],
    ids=lambda path: path.stem,
)
def test_shipped_configs_and_their_tables_are_valid(path):
    settings = load_config(load_yaml(path), str(path))
    assert load_datasets(ROOT / settings.datasets, settings)


def test_every_key_is_explained_in_the_config_readme():
    text = (ROOT / "config/README.md").read_text()
    models = [
        Config,
        MemorySettings,
        ComputeSettings,
        NufftSettings,
        CalibrationSettings,
        OutputSettings,
        SourceSettings,
        ArraySettings,
        BartSettings,
        SimulationSettings,
        ReadoutSettings,
        TrajectorySettings,
        *map(settings_class, ALGORITHMS),
        TrainSettings,
    ]
    missing = [
        f"{model.__name__}.{key}"
        for model in models
        for key in model.model_fields
        if f"`{key}`" not in text
    ]
    assert not missing


def test_schema_file_is_what_the_models_say():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert schema == config_schema()


def test_an_editor_refuses_what_an_algorithm_does_not_use():
    schema = config_schema()
    one_of = schema["properties"]["reconstructions"]["patternProperties"].popitem()[1]
    assert one_of["discriminator"]["propertyName"] == "algorithm"
    assert set(one_of["discriminator"]["mapping"]) == set(ALGORITHMS)
    chosen = schema["$defs"]["CgSenseSettings"]
    assert chosen["additionalProperties"] is False
    assert "preconditioner" in chosen["properties"]
    assert not {"rho", "points", "fusion"} & set(chosen["properties"])


def test_a_job_loads_only_its_own_algorithm_and_settings_load_no_torch():
    program = (
        "import sys; from pipeline.config.reconstruction import ReconstructSettings as S;"
        "S.model_validate({'reconstruction': {'algorithm': 'fista', 'penalty': 'tv'}, 'nufft': {},"
        "'precision': 'single', 'deterministic': False}); import pipeline.config.equations;"
        "print(*sorted(name for name in sys.modules"
        " if name.startswith(('pipeline.algorithms.', 'pipeline.solvers.penalties.'))));"
        "import pipeline.config.datasets; print('torch' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    shared = {"base", "registry", "penalised", "penalty_settings", "discrepancy"}
    loaded = {name.removeprefix("pipeline.") for name in said[0].split()}
    expected = {f"algorithms.{name}" for name in (*shared, "fista")} | {"solvers.penalties.tv"}
    assert loaded == expected
    assert said[1] == "False"


def test_what_runs_by_name_can_be_asked_for():
    settings = parse_algorithm({"algorithm": "admm", "penalty": "wavelet"})
    assert settings.modules == ("pipeline.algorithms.admm", "pipeline.solvers.penalties.wavelet")
    undecided = parse_algorithm({"algorithm": "fista"})
    for kind, penalty in (("mri", "tv"), ("rf", "l1")):
        decided = undecided.decided(Known(kind))
        assert decided.penalty == penalty
        assert decided.modules[-1] == f"pipeline.solvers.penalties.{penalty}"
        assert set(decided.modules) <= set(undecided.modules)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**MINIMAL, "memry": {}}, r"unknown key `memry`; did you mean `memory`\?"),
        (
            {**MINIMAL, "memory": {"device_md": 3}},
            r"unknown key `memory.device_md`; did you mean `device_mb`\?",
        ),
        (
            {"reconstructions": {"a": {"algorithm": "gridding", "iteration": 3}}},
            r"`reconstructions.a`: unknown key `iteration`; did you mean `iterations`\?",
        ),
        (
            {**MINIMAL, "sources": {"brain": {"simulation": {"coil": 2}}}},
            r"`sources.brain.simulation.coil`; did you mean `coils`\?",
        ),
        (
            {**MINIMAL, "sources": {"a": {"arrays": {"kspace": {"axes": ["coil"], "nam": "k"}}}}},
            r"`sources.a.arrays.kspace.nam`; did you mean `name`\?",
        ),
        ({**MINIMAL, "nufft": {"tolerance": 0}}, r"`nufft.tolerance`.*greater than 0.*found 0"),
        ({**MINIMAL, "nufft": {"tolerance": math.nan}}, r"`nufft.tolerance`"),
        ({"reconstructions": {}}, r"`reconstructions`.*at least 1"),
        (
            {"reconstructions": {"a": {"algorithm": "gridding", "iterations": 3}}},
            r"`reconstructions.a`: gridding does not use `iterations` \(of admm, cg-sense",
        ),
        ({"reconstructions": {"a": {"algorithm": "omp", 3: 4}}}, r"`reconstructions.a`: .*key `3`"),
        ({"reconstructions": {"a": {"algorithm": "omp"}}}, r"omp needs `points`"),
        (
            {"reconstructions": {"a": {"algorithm": "fsta"}}},
            r"`reconstructions.a`: unknown algorithm `fsta`; did you mean `fista`\?",
        ),
        ({"reconstructions": {"a": {}}}, r"`algorithm` is not given; there is gridding"),
        (
            {"reconstructions": {"a": {"algorithm": "cg-sense", "iterations": 0}}},
            r"`reconstructions.a.iterations.*`: .* greater than or equal to 1 \(found 0\)",
        ),
        (
            {"reconstructions": {"a": {"algorithm": "cg-sense", "fusion": "coherent"}}},
            r"cg-sense does not use `fusion` \(of admm, fista",
        ),
        (
            {"reconstructions": {"a": {"algorithm": "admm", "penalty": "l21"}}},
            r"l21.* needs `fusion: non-coherent`",
        ),
        (
            {"reconstructions": {"a": {"algorithm": "fista", "penalty": "tv", "debias": True}}},
            r"`debias` is for the penalties l1 and l21",
        ),
        ({"reconstructions": {"../up": {"algorithm": "gridding"}}}, r"should match pattern"),
        ([], r"expected keys with values"),
    ],
)
def test_faulty_settings_name_the_key(content, message):
    with pytest.raises(ConfigError, match=message):
        load_config(content)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no datasets"),
        (["a\tmri\tnative\tx.zarr"], "line 2: 4 cells; expected 5"),
        (["a\tmri\tnative\tx\tgridding"] * 2, "line 3: dataset `a` stands twice"),
        (["a\tmri\tnative\tx\tgriding"], "`griding` of dataset `a`.*did you mean `gridding`"),
        (["a\tmri\tnative\tx\tgridding,gridding"], "names a reconstruction twice"),
        (["a\tct\tnative\tx\tgridding"], "`kind`.*found 'ct'"),
        (["a/b\tmri\tnative\tx\tgridding"], "`dataset`"),
    ],
)
def test_faulty_tables_name_the_line(tmp_path, rows, message):
    with pytest.raises(ConfigError, match=message):
        load_datasets(_table(tmp_path, *rows), load_config(MINIMAL))


def test_wrong_header_and_missing_table_are_refused(tmp_path):
    settings = load_config(MINIMAL)
    with pytest.raises(ConfigError, match="expected the tab-separated columns"):
        load_datasets(_table(tmp_path, header="dataset,kind"), settings)
    with pytest.raises(ConfigError, match=r"dataset table .*absent\.tsv: no such file"):
        load_datasets(tmp_path / "absent.tsv", settings)


def test_a_stage_sees_only_the_settings_it_uses(tmp_path):
    table = _table(tmp_path, "a\tmri\tnative\tx.zarr\tcg")

    def settings(iterations):
        content = {"reconstructions": {"cg": {"algorithm": "cg-sense", "iterations": iterations}}}
        loaded = load_config(content)
        row = load_datasets(table, loaded)["a"]
        return {
            stage: canonical_json(stage_settings(loaded, row, stage, "cg"))
            for stage in (
                "ingest",
                "calibrate",
                "plan",
                "accumulate",
                "reconstruct",
                "merge",
                "measure",
            )
        }

    before, after = settings(10), settings(11)
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == {"plan", "reconstruct"}


def test_what_is_known_of_instruments_is_calibrated_and_not_ingested(tmp_path):
    table = _table(tmp_path, "a\trf\tnative\tx.zarr\tmf")

    def settings(stage, **source):
        reconstructions = {"mf": {"algorithm": "matched-filter"}}
        loaded = load_config({"reconstructions": reconstructions, "sources": {"a": source}})
        return canonical_json(
            stage_settings(loaded, load_datasets(table, loaded)["a"], stage, "mf")
        )

    for known in (
        {"coherent": False},
        {"pair_correction": {"delay": [1e-9]}},
        {"reference_target": {"position": [0.0, 1.0]}},
    ):
        changed = {
            stage
            for stage in ("ingest", "calibrate", "plan", "accumulate", "reconstruct")
            if settings(stage, **known) != settings(stage)
        }
        assert changed == {"calibrate"}


@given(st.integers(1, 10**6), st.one_of(st.just("all"), st.integers(1, 10**6)))
def test_every_frame_belongs_to_one_image(frames, joined):
    images = image_count(frames, joined)
    each = frames if joined == "all" else joined
    assert (images - 1) * each < frames <= images * each


def test_a_missing_source_is_named_before_anything_runs(tmp_path):
    settings = load_config({**MINIMAL, "data_root": str(tmp_path)})
    row = "a\tmri\tnative\tx.zarr\tgridding"
    datasets = load_datasets(_table(tmp_path, row), settings)
    with pytest.raises(ConfigError, match=r"dataset `a`: .*x\.zarr: no such file or folder; check"):
        find_source_files(settings, datasets)
    (tmp_path / "x.zarr").mkdir()
    assert find_source_files(settings, datasets) == {"a": [tmp_path / "x.zarr"]}


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("rf\tsimulation\trf6", {"algorithm": "cg-sense"}, "cg-sense is not for rf"),
        ("mri\tnative\tx", {"algorithm": "tikhonov"}, "tikhonov is not for mri"),
        (
            "rf\tsimulation\trf6",
            {"algorithm": "fista", "shape": [8, 8], "frames_per_image": 2},
            "`shape`, `frames_per_image` does not apply to rf",
        ),
        ("mri\tnative\tx", {"algorithm": "omp", "points": 3, "model": "W"}, "`model` does not"),
    ],
)
def test_settings_of_the_other_kind_of_data_are_refused(tmp_path, kind, settings, message):
    config = load_config({"reconstructions": {"a": settings}})
    with pytest.raises(ConfigError, match=message):
        load_datasets(_table(tmp_path, f"d\t{kind}\ta"), config)


@pytest.mark.parametrize(
    ("row", "sources", "missing"),
    [
        ("mri\tsimulation\tshepp-logan", {"shape": [8, 8]}, "simulation"),
        ("mri\tsimulation\tshepp-logan", {"simulation": SIMULATION}, "shape"),
        ("mri\tbart\tfolder", {}, "bart"),
        ("mri\tarrays\tx.h5", {}, "arrays"),
    ],
)
def test_what_a_format_must_be_told_is_named_before_anything_runs(tmp_path, row, sources, missing):
    settings = load_config({**MINIMAL, "sources": {"a": sources}})
    with pytest.raises(ConfigError, match=rf"line 2: .* needs `sources\.a\.{missing}`"):
        load_datasets(_table(tmp_path, f"a\t{row}\tgridding"), settings)


@pytest.mark.parametrize(
    ("row", "sources", "told"),
    [
        ("rf\tgotcha\tx.mat", {"plane": "slant"}, "plane` is for rf cphd, and this is rf gotcha"),
        ("rf\tfresnel\tx.exp", {"tx_grid": [2, 3]}, "tx_grid` is for rf arrays, and"),
        ("rf\tcphd\tx.cphd", {"own_autofocus": True}, "own_autofocus` is for rf gotcha, and"),
        ("mri\tfastmri\tx.h5", {"readouts": {}}, "readouts` is for mri mrd, mri mrd2, mri twix"),
        ("mri\tfastmri\tx.h5", {"readouts_per_frame": 9}, "readouts_per_frame` is for mri arrays"),
        ("mri\tmrd\tx.h5", {"bart": {"kspace": "k", "trajectory": "t"}}, "bart` is for mri bart"),
        ("mri\tnative\tx.zarr", {"scene": {"shape": [8, 8], "spacing": [1, 1]}}, "scene` is for"),
        ("mri\tnative\tx.zarr", {"coherent": False}, "coherent` is for rf native, rf arrays"),
        ("rf\tsimulation\trf6", {"voxel_size": [1, 1]}, "voxel_size` is for mri native, mri"),
    ],
)
def test_what_a_format_has_no_use_for_is_refused(tmp_path, row, sources, told):
    algorithm = "gridding" if row.startswith("mri") else "matched-filter"
    settings = load_config(
        {"reconstructions": {"one": {"algorithm": algorithm}}, "sources": {"a": sources}}
    )
    with pytest.raises(ConfigError, match=rf"line 2: `sources\.a\.{told}.*leave it out"):
        load_datasets(_table(tmp_path, f"a\t{row}\tone"), settings)


def test_a_key_that_stands_twice_is_refused(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("sources:\n  a: {shape: [8, 8]}\nmemory: {}\nsources:\n  b: {}\n")
    with pytest.raises(ConfigError, match=r"`sources` stands in line 1 and again in line 4"):
        load_yaml(file)
    file.write_text("sources:\n- b: {seed: 1, seed: 2}\n")
    with pytest.raises(
        ConfigError, match=r"config\.yaml: `seed` stands in line 2 and again in line"
    ):
        load_yaml(file)


def test_a_file_without_a_table_is_laid_over_the_default(tmp_path):
    default, file = tmp_path / "default.yaml", tmp_path / "mine.yaml"
    default.write_text(
        yaml.safe_dump(
            {"datasets": "a.tsv", "memory": {"host_mb": 500, "device_mb": 600}, **MINIMAL}
        )
    )
    file.write_text("memory: {host_mb: 700}\n")
    found = read_config(file, default)
    assert found.datasets == "a.tsv"
    assert (found.memory.host_mb, found.memory.device_mb) == (700, 600)
    file.write_text(yaml.safe_dump({"datasets": "b.tsv", **MINIMAL}))
    assert read_config(file, default).memory == MemorySettings()


def test_a_missing_network_is_named_before_anything_runs(tmp_path):
    network = {"algorithm": "unrolled", "weights_file": str(tmp_path / "net.npz")}
    config = load_config({"reconstructions": {"a": network}})
    datasets = load_datasets(_table(tmp_path, "d\trf\tsimulation\trf6\ta"), config)
    with pytest.raises(ConfigError, match=r"net\.npz: no such file; .*kronufft train"):
        find_source_files(config, datasets)
    (tmp_path / "net.npz").write_bytes(b"one")
    first = stage_settings(config, datasets["d"], "reconstruct", "a")
    (tmp_path / "net.npz").write_bytes(b"another")
    assert stage_settings(config, datasets["d"], "reconstruct", "a") != first


@pytest.mark.parametrize("algorithm", ["gridding", "cg-sense", "tikhonov", "fista", "primal-dual"])
def test_what_an_algorithm_does_not_use_reruns_nothing(algorithm):
    settings = parse_algorithm({"algorithm": algorithm})
    again = parse_algorithm(json.loads(canonical_json(settings)))
    assert again == settings
    assert "points" not in json.loads(canonical_json(settings))


def test_settings_survive_the_command_line():
    settings = load_config({**MINIMAL, "nufft": {"oversampling": [2, 1.5, 1.25]}})
    plan = PlanSettings(
        reconstruction=settings.reconstructions["gridding"],
        nufft=settings.nufft,
        memory=settings.memory,
        precision="single",
        deterministic=False,
    )
    text = canonical_json(plan)
    assert parse_settings(PlanSettings, text) == plan
    assert json.loads(text)["nufft"]["oversampling"] == [2, 1.5, 1.25]
