"""Whether other users of this machine can read or change a file: its mode, its owner, and the folders above it.

Not here: which files must be private (`cli.health_check`, `settings`), and those of the sign-in (`token_store`).
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = 0


@dataclass(frozen=True, slots=True)
class Opening:
    """How others get at a file: `text` says it and what to do. `by_all`: everybody on the machine may change it."""

    text: str
    may_change: bool
    by_all: bool = False


def opening(path: Path) -> Opening | None:
    """Return how users other than this one and root get at a file, the worst first; None where they do not.

    A group counts as others, but root's, and one that has the number of this user, as each user's own group has. What
    is not there, or cannot be looked at, is not open.
    """
    try:
        path = path.resolve()
        file = path.stat()
        folders = [(folder, folder.stat()) for folder in path.parents]
    except OSError:
        return None
    by_all = all(info.st_mode & stat.S_IXOTH for _, info in folders)
    by_group = _is_shared(file) and all(info.st_mode & (stat.S_IXOTH | stat.S_IXGRP) for _, info in folders)
    for place, info in [(path, file), *folders]:
        if info.st_uid not in (_ROOT, os.geteuid()):
            return Opening(
                f"{place} belongs to user {info.st_uid}, who can change {path}; change its owner (chown)", True
            )
    for place, info in folders:
        if info.st_mode & stat.S_ISVTX:
            continue  # only owners replace what is in it
        everybody = bool(info.st_mode & stat.S_IWOTH) and _is_reached(place)
        if everybody or (info.st_mode & stat.S_IWGRP and _is_shared(info)):
            return Opening(
                f"{place} can be changed by other users (mode {_mode(info)}), so they can replace {path}; run "
                f"`chmod go-w {place}`",
                True,
                everybody,
            )
    others = file.st_mode & ((stat.S_IRWXO if by_all else 0) | (stat.S_IRWXG if by_group else 0))
    may_change = bool(others & (stat.S_IWOTH | stat.S_IWGRP))
    if may_change or others & (stat.S_IROTH | stat.S_IRGRP):
        done = "changed" if may_change else "read"
        text = f"{path} can be {done} by other users of this machine (mode {_mode(file)}); run `chmod 600 {path}`"
        return Opening(text, may_change, bool(others & stat.S_IWOTH))
    return None


def _is_reached(folder: Path) -> bool:
    return all(above.stat().st_mode & stat.S_IXOTH for above in (folder, *folder.parents))


def _is_shared(info: os.stat_result) -> bool:
    """Say whether the group of a file or folder may have other members."""
    return info.st_gid not in (_ROOT, os.geteuid())


def _mode(info: os.stat_result) -> str:
    return f"{stat.S_IMODE(info.st_mode):o}"
