"""Which array of a file is what: by name first, then by type and size."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config.base import nearest
from pipeline.errors import ConfigError
from pipeline.formats.proposal import Held, unknown

_NAMES = {
    "trajectory": r"traj|coord|crds|omega|^om$|^k$|^kt$|klocs?|kloc|kxyz|k_?space_?loc|kpos",
    "weights": r"dcf|dens|weight|^w$|sdc|dcomp",
    "noise": r"noise|prewhit",
    "sensitivities": r"sens|smap|csm|coil|b1|maps?$",
    "reference": r"ref|image|img|truth|phantom|recon|^x$",
    "kspace": r"k_?-?space|ksp|kdata|k_data|raw|signal|meas|samples|data|dat$|^y$",
}
"""What arrays are often called, the more telling names first."""
_PARTS = (("real", "imag"), ("re", "im"), ("r", "i"))
_COMPONENTS = "zyx"


@dataclass(frozen=True)
class Role:
    """An array, or several that make one."""

    held: Held
    """Of the first of them, by whose shape all are."""
    settings: Mapping[str, Any]
    """How `arrays` names it."""
    reason: str
    guess: bool
    components: int = 0
    """How many arrays, one for each component; 0 where it is one array."""
    complex: bool = False
    ordered: bool = False
    """Whether components stand in image order."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape as stored."""
        return self.held.shape


def roles(held: Iterable[Held], named: Mapping[str, str], *, grid: bool) -> dict[str, Role]:
    """Return what each array is, of those that are needed or known; a grid has no trajectory.

    Raises
    ------
    ConfigError
        If there is no k-space or no trajectory to be seen, or what is named is unknown; says how to
        name it.
    """
    by_name = {one.name: one for one in held}
    for name in named:
        if name not in _NAMES:
            raise ConfigError(f"init: --array: unknown `{name}`{nearest(name, list(_NAMES))}")
    found = {name: _named(by_name, name, stored) for name, stored in named.items()}
    left = [
        role
        for role in _grouped(by_name)
        if not {role.settings.get("name"), *role.settings.get("components", ())}
        & {s for role in found.values() for s in _stored(role.settings)}
    ]
    for name, pattern in _NAMES.items():
        if name in found or (grid and name == "trajectory"):
            continue
        fitting = [
            role
            for role in left
            if re.search(pattern, _last(role.held.name)) and _possible(name, role)
        ]
        if fitting:
            best = max(fitting, key=lambda role: _size(role.shape))
            found[name] = _for(name, best, f"by its name, {best.held.name}")
            left.remove(best)
    for name in ("kspace",) if grid else ("kspace", "trajectory"):
        if name in found:
            continue
        possible = [role for role in left if _possible(name, role)]
        if not possible:
            known = ", ".join(map(str, by_name.values()))
            flag = f"--array {name}=NAME"
            if name == "trajectory":
                flag += ", or the axes of k-space that is a grid with --axes kspace=coil,y,x"
            raise unknown(f"none of the arrays looks like a {name} ({known})", flag)
        best = max(possible, key=lambda role: _size(role.shape))
        kind = "complex" if name == "kspace" else "real, with two or three components,"
        found[name] = _for(
            name, best, f"the largest array that is {kind} is {best.held.name}", guess=True
        )
        left.remove(best)
    return found


def _named(by_name: Mapping[str, Held], name: str, stored: str) -> Role:
    parts = [part.strip() for part in stored.split(",")]
    missing = [part for part in parts if part not in by_name]
    if missing:
        raise unknown(
            f"the file holds no array {missing[0]}; it holds {', '.join(by_name)}",
            f"--array {name}=NAME",
        )
    first = by_name[parts[0]]
    if len(parts) == 1:
        return Role(first, {"name": stored}, "as told", False, complex=first.dtype.kind == "c")
    if name == "trajectory":
        return Role(first, {"components": parts}, "as told", False, components=len(parts))
    return Role(first, {"real": parts[0], "imag": parts[1]}, "as told", False, complex=True)


def _grouped(by_name: Mapping[str, Held]) -> list[Role]:
    """Return the arrays; parts of a complex one, and components of a trajectory, as one."""
    left, grouped = dict(by_name), []
    for name in by_name:
        for real, imag in _PARTS:
            pattern = rf"(^|[_.-]){real}($|[_.-])" if len(real) < 3 else real
            match = re.search(pattern, name)
            if match is None:
                continue
            other = name[: match.start()] + match[0].replace(real, imag) + name[match.end() :]
            if other != name and {name, other} <= set(left) and _alike(left[name], left[other]):
                role = Role(left[name], {"real": name, "imag": other}, "", False, complex=True)
                grouped.append(role)
                del left[name], left[other]
                break
    for name in list(left):
        for at, letter in enumerate(name.lower()):
            if letter != "x" or name not in left:
                continue
            named = [name[:at] + one + name[at + 1 :] for one in _COMPONENTS]
            there = [one for one in named if one in left and _alike(left[name], left[one])]
            if len(there) >= 2 and len(named[-1]) <= 6:
                held = left[name]
                grouped.append(
                    Role(held, {"components": there}, "", False, len(there), ordered=True)
                )
                for one in there:
                    del left[one]
    grouped += [
        Role(one, {"name": one.name}, "", False, complex=one.dtype.kind == "c")
        for one in left.values()
    ]
    return [role for role in grouped if _size(role.shape) > 1]


def _possible(name: str, role: Role) -> bool:
    """Say whether an array can be what it would be taken for."""
    if name == "kspace":
        return role.complex and not role.components
    if name == "trajectory":
        if role.complex:  # real part and imaginary part are two components
            return True
        return bool(role.components) or any(size in (2, 3) for size in role.shape)
    if name == "weights":
        return not role.complex and not role.components
    if name in ("noise", "sensitivities"):
        return role.complex
    return not role.components


def _for(name: str, role: Role, reason: str, guess: bool = False) -> Role:
    if name == "trajectory" and "real" in role.settings:
        parts = [role.settings["real"], role.settings["imag"]]
        return Role(role.held, {"components": parts}, reason, guess, components=2)
    return replace(role, reason=reason, guess=guess)


def _stored(settings: Mapping[str, Any]) -> set[str]:
    names = [settings.get(key) for key in ("name", "real", "imag")]
    return {*filter(None, names), *settings.get("components", ())}


def _alike(one: Held, other: Held) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.dtype.kind in "fiu"


def _last(name: str) -> str:
    return name.lower().rpartition("/")[2]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size
