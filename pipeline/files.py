"""What a path that somebody else wrote must name before it is opened."""

import re
import stat
from pathlib import Path

_WILD = re.compile(r"[*?]")


def matching(path: Path) -> list[Path]:
    """Return the files that a name with ``*`` or ``?`` stands for, by the numbers in their names.

    A name that is not wild, or that nothing matches, stands for itself.
    """
    if not _WILD.search(path.name):
        return [path]
    pattern = re.sub(r"\[", "[[]", path.name)
    found = path.parent.glob(pattern) if path.parent.is_dir() else ()
    return sorted(found, key=_by_numbers) or [path]


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def why_unreadable(path: Path, *, folder: bool = False) -> str | None:
    """Return why ``path`` cannot be read like a file, or `None` if it can.

    Pipes and devices are refused: reading them may never end.

    Parameters
    ----------
    path
        Any path, also one that no file can have.
    folder
        Whether it may be a folder.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "no such file or folder" if folder else "no such file"
    except OSError as error:  # a name too long, a loop of links, a folder that is closed
        return f"not readable ({error.strerror})"
    except ValueError:
        return "not a name that a file can have"
    if stat.S_ISREG(mode) or (folder and stat.S_ISDIR(mode)):
        return None
    return "a folder, not a file" if stat.S_ISDIR(mode) else "a pipe, socket or device, not a file"


def read_text(path: Path, most: int) -> str:
    """Return the text of a small file, without the mark that some programs begin UTF-8 with.

    Raises
    ------
    ValueError
        If it is no file, larger than ``most`` bytes, or not text; says why.
    """
    reason = why_unreadable(path)
    if reason is not None:
        raise ValueError(reason)
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"not readable ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"not text in UTF-8 ({error.reason} at byte {error.start})") from None
    if len(content) > most:
        raise ValueError(f"larger than {most / 1e6:g} MB")
    return text
