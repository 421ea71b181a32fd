"""Files whose format says what each number is: AFRL Gotcha, Institut Fresnel, CPHD."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.formats.proposal import Proposal, Told
from pipeline.rf.formats.cphd import is_cphd
from pipeline.rf.formats.fresnel import is_fresnel
from pipeline.rf.formats.gotcha import gotcha_files, is_gotcha
from pipeline.rf.proposals.scene import propose_scene

_WHY = {
    "gotcha": "a structure `data` with the fields of a Gotcha phase history",
    "fresnel": "the header of a file of the Institut Fresnel's database",
    "cphd": "it begins as CPHD does",
}


def describe(paths: Sequence[Path], told: Told) -> Proposal | None:
    """Describe one file, or a folder of Gotcha's."""
    (path, *others) = paths
    name = _format_of(path)
    if name is None:
        return None
    if others:
        raise ConfigError(
            f"init: {path} is of the format {name}: give one file, or a folder of Gotcha files"
        )
    found = Proposal("rf", name, path.name, str(path.parent))
    found.say("format", _WHY[name])
    propose_scene(found, told)
    return found


def _format_of(path: Path) -> str | None:
    first = next(iter(gotcha_files(path)), None)
    if first is not None and is_gotcha(first):
        return "gotcha"
    if is_fresnel(path):
        return "fresnel"
    return "cphd" if is_cphd(path) else None
