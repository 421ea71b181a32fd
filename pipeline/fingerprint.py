"""Fingerprint of the code that a stage runs, so that changed code reruns what it made.

Snakemake sees a rule's command, not the modules behind it. The fingerprint covers the stage's
module, what was chosen by name (a reader, an algorithm), and every module of this package that
these import, directly or not. Where one of them asks `pipeline.kinds.part_of` for a part of a wing,
the part of the dataset's kind counts. It is taken from the syntax tree without docstrings:
documentation, comments and layout do not count, nor does what only a type checker imports.
"""

import ast
import hashlib
import json
import os
import sys
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent
_TEMPLATES = _PACKAGE / "report" / "templates"


@dataclass(frozen=True)
class _Source:
    """What counts of one module."""

    digest: str
    imports: frozenset[str]
    """Names, of which some may be no modules."""
    parts: frozenset[str]
    """Names of the parts of wings that it asks for, such as ``measurement``."""


class _Reader:
    """Reads what runs of a syntax tree, in one pass: trees are large, and read by every run."""

    def __init__(self) -> None:
        self.words: list[str] = []
        """The tree without docstrings, and without what only a type checker reads."""
        self.imported: set[str] = set()
        self.calls: list[ast.Call] = []
        """Of `part_of`."""

    def read(self, node: ast.AST) -> None:
        """Take note of a node and all below it."""
        match node:
            case ast.Expr(value=ast.Constant(value=str())):  # docstrings, also of constants
                return
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                for below in node.orelse:
                    self.read(below)
                return
            case ast.Import():
                self.imported.update(alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), level=0):
                self.imported.add(module)
                self.imported.update(f"{module}.{alias.name}" for alias in node.names)
            case ast.Call(func=ast.Name(id="part_of")):
                self.calls.append(node)
        self.words.append(type(node).__name__)
        for name in node._fields:
            if name != "ctx":
                self._read_field(getattr(node, name, None))

    def _read_field(self, value: object) -> None:
        if isinstance(value, ast.AST):
            self.read(value)
        elif isinstance(value, list):
            self.words.append("[")
            for below in value:
                self._read_field(below)
            self.words.append("]")
        else:
            self.words.append(repr(value))


@cache
def _file_of(module: str) -> Path | None:
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


class _Known:
    """What was found of sources before, by their content: reading all anew takes half a second.

    It lies where Python keeps what it has compiled, or nowhere if that cannot be written.
    """

    def __init__(self, package: Path) -> None:
        tag = sys.implementation.cache_tag
        self.file = package / "__pycache__" / f"fingerprints.{tag}.json"
        self.found: dict[str, Any] = {}
        self.rules = _bytes_digest(__file__)
        self.more = False
        with suppress(OSError, ValueError, AttributeError):
            content = json.loads(self.file.read_bytes())
            if content.get("rules") == self.rules:
                self.found = content["found"]

    def keep(self) -> None:
        """Write what has been added."""
        if self.more:
            self.more = False
            temporary = self.file.with_suffix(f".{os.getpid()}")
            with suppress(OSError):
                self.file.parent.mkdir(exist_ok=True)
                temporary.write_text(json.dumps({"rules": self.rules, "found": self.found}))
                temporary.replace(self.file)


_known = cache(_Known)


@cache
def _source(path: Path) -> _Source:
    content, known = path.read_bytes(), _known(_PACKAGE)
    key = hashlib.sha256(content).hexdigest()
    if key not in known.found:
        source = _read_source(path, content)
        known.found[key] = [source.digest, sorted(source.imports), sorted(source.parts)]
        known.more = True
    digest, imports, parts = known.found[key]
    return _Source(digest, frozenset(imports), frozenset(parts))


def _read_source(path: Path, content: bytes) -> _Source:
    reader = _Reader()
    reader.read(ast.parse(content))
    parts: set[str] = set()
    for call in reader.calls:
        match call.args:
            case [_, ast.Constant(value=str(part))]:
                parts.add(part)
            case _:
                raise ValueError(f"{path}: `part_of` needs the name of the part as a literal")
    ours = frozenset(name for name in reader.imported if name.split(".")[0] == "pipeline")
    digest = hashlib.sha256("\n".join(reader.words).encode()).hexdigest()
    return _Source(digest, ours, frozenset(parts))


def modules_of(
    stage: str, *, kinds: Collection[str] = (), modules: Iterable[str] = ()
) -> dict[str, Path]:
    """Return the modules that a stage runs on data of some kinds, with their files.

    ``modules`` are the names of those that its settings choose.
    """
    found: dict[str, Path] = {}
    waiting = [f"pipeline.stages.{stage}", *modules]
    while waiting:
        names = waiting.pop().split(".")
        # Importing a module also runs the packages around it.
        for end in range(2, len(names) + 1):
            module = ".".join(names[:end])
            if module in found or (path := _file_of(module)) is None:
                continue
            found[module] = path
            source = _source(path)
            waiting += source.imports
            waiting += (f"pipeline.{kind}.{part}" for kind in kinds for part in source.parts)
    return found


@cache
def code_fingerprint(stage: str, kinds: tuple[str, ...] = (), modules: tuple[str, ...] = ()) -> str:
    """Return sixteen hexadecimal digits that change when the code of `modules_of` does."""
    digest = hashlib.sha256()
    for module, path in sorted(modules_of(stage, kinds=kinds, modules=modules).items()):
        digest.update(f"{module} {_source(path).digest}\n".encode())
    _known(_PACKAGE).keep()
    if stage == "report":
        for template in sorted(_TEMPLATES.glob("*")):
            digest.update(template.read_bytes())
    return digest.hexdigest()[:16]


def running_code_fingerprint() -> str:
    """Return sixteen hexadecimal digits for the source of all modules that are loaded by now.

    Unlike `code_fingerprint` it is of the very bytes, comments included, and takes milliseconds.
    """
    ours = {
        name: module for name, module in sys.modules.items() if name.split(".")[0] == _PACKAGE.name
    }
    digest = hashlib.sha256()
    for name, module in sorted(ours.items()):
        file = getattr(module, "__file__", None)
        if file is not None:
            digest.update(f"{name} {_bytes_digest(file)}\n".encode())
    return digest.hexdigest()[:16]


@cache
def _bytes_digest(file: str) -> str:
    """Return the digest of a module's file as it was when this process first asked."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
