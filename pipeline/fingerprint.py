"""Fingerprint of the code that a stage runs, so that changed code reruns what it made.

Snakemake sees a rule's command, not the modules behind it. The fingerprint covers the stage's
module and every module of this package that it imports, directly or not. It is taken from the
syntax tree: comments and layout do not count.
"""

import ast
import hashlib
import sys
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
_TEMPLATES = _PACKAGE / "report" / "templates"


def _file_of(module: str) -> Path | None:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _digest_and_imports(path: Path) -> tuple[str, frozenset[str]]:
    tree = ast.parse(path.read_bytes())
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            imported.add(node.module)
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)
    ours = frozenset(name for name in imported if name.split(".")[0] == "pipeline")
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), ours


def modules_of(stage: str) -> dict[str, Path]:
    """Return the modules that ``stage`` imports, itself included, with their files."""
    found: dict[str, Path] = {}
    waiting = [f"pipeline.stages.{stage}"]
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        if module in found or path is None:
            continue
        found[module] = path
        waiting.extend(_digest_and_imports(path)[1])
    return found


def code_fingerprint(stage: str) -> str:
    """Return sixteen hexadecimal digits that change when the code behind ``stage`` does."""
    digest = hashlib.sha256()
    for module, path in sorted(modules_of(stage).items()):
        digest.update(f"{module} {_digest_and_imports(path)[0]}\n".encode())
    if stage == "report":
        for template in sorted(_TEMPLATES.glob("*")):
            digest.update(template.read_bytes())
    return digest.hexdigest()[:16]


def running_code_fingerprint() -> str:
    """Return sixteen hexadecimal digits for the source of all modules that are loaded by now.

    Unlike `code_fingerprint` it is of the very bytes, comments included, and takes milliseconds.
    """
    digest = hashlib.sha256()
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] == _PACKAGE.name and file is not None:
            digest.update(
                f"{name} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}\n".encode()
            )
    return digest.hexdigest()[:16]
