"""One lock: what pyproject asks for, what is pinned and what conda installs are the same."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

from pipeline import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKED_EXTRAS = (
    "ducc", "torchkbnufft", "scanners", "sar", "vna", "cluster", "bench", "referee", "docs", "dev",
)  # fmt: skip


def package(requirement):
    return re.split(r"[\[<>=;~! ]", requirement)[0].lower().replace("_", "-")


def pins():
    lines = (ROOT / "envs/requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_lock_pins_everything_that_pyproject_names():
    wanted = list(PROJECT["dependencies"])
    for extra in LOCKED_EXTRAS:
        wanted += PROJECT["optional-dependencies"][extra]
    assert {package(requirement) for requirement in wanted} <= {package(pin) for pin in pins()}


def test_every_pin_is_exact():
    assert all(re.match(r"^[A-Za-z0-9._-]+==[^ ;]+( ;.*)?$", pin) for pin in pins())


def test_torch_is_pinned_and_brings_its_own_cuda():
    names = {package(pin): pin for pin in pins()}
    wanted = next(r for r in PROJECT["dependencies"] if package(r) == "torch")
    assert names["torch"].removeprefix("torch==") in Requirement(wanted).specifier
    assert not [name for name in names if re.match(r"(nvidia-cu|cuda-|triton)", name)]


def test_conda_takes_the_same_lock():
    environment = yaml.safe_load((ROOT / "envs/pipeline.yaml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python"))
    assert "3.12" in python
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.txt", ".."]}


def test_each_dependency_earns_its_place():
    text = (ROOT / "docs/dependencies.md").read_text()
    extras = PROJECT["optional-dependencies"].values()
    named = [*PROJECT["dependencies"], *(entry for extra in extras for entry in extra)]
    assert [r for r in named if package(r) not in text.lower()] == []


def test_one_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    changed = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert cited == changed[1] == __version__


def test_containers_and_checks_elsewhere_install_what_there_is():
    extras = set(PROJECT["optional-dependencies"])
    for recipe in ("envs/Dockerfile", "envs/apptainer.def"):
        text = (ROOT / recipe).read_text()
        wanted = re.search(r"EXTRAS=([a-z,-]+)", text)[1].split(",")
        assert set(wanted) <= extras
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    checks = (ROOT / ".github/workflows/ci.yml").read_text()
    assert set(re.findall(r"run: make ([a-z-]+)", checks)) <= targets
