"""Where the workflow lies that came with this package: Snakefile, rules, profiles, examples."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def workflow_folder() -> Path:
    """Return the folder of the Snakefile: in an installed package, or a clone's own."""
    inside = _PACKAGE / "bundle"
    return inside if inside.is_dir() else _PACKAGE.parent
