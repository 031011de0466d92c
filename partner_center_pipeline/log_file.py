"""The log file: what runs tell (`telling`), each line with its run, its windows and the latest call to Microsoft.

Several processes write to one file, which is rotated. Not here: what is told, and where else it is shown.
"""

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from concurrent_log_handler import ConcurrentRotatingFileHandler

from partner_center_pipeline.settings import LogFormat, LogLevel
from partner_center_pipeline.telling import at_work_on

MOST_BYTES: Final = 10_000_000
"""Size from which a new file is begun."""
OLD_FILES: Final = 4
"""Full files that are kept beside the present one, the newest as `.1`."""

_PACKAGE: Final = logging.getLogger("partner_center_pipeline")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def open_log_file(path: Path, form: LogFormat, level: LogLevel) -> None:
    """Write what is told from now on to the file; once in a process.

    A file that cannot be written is told as a warning, and stops no work.
    """
    path = path.absolute()
    number = logging.DEBUG if level is LogLevel.DEBUG else logging.INFO
    if not any(isinstance(handler, _File) and handler.path == path for handler in _PACKAGE.handlers):
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            handler = _File(path)
        except OSError as error:
            _say_unwritable(path, error)
            return
        handler.setLevel(number)
        handler.setFormatter(_Json() if form is LogFormat.JSON else _Text())
        _PACKAGE.addHandler(handler)
    if _PACKAGE.getEffectiveLevel() > number:
        _PACKAGE.setLevel(number)


def _say_unwritable(path: Path, error: BaseException | None) -> None:
    reason = getattr(error, "strerror", None) or type(error).__name__
    _PACKAGE.warning("the log file %s cannot be written (%s); correct HUNTER_LOG_FILE. Work goes on", path, reason)


class _File(ConcurrentRotatingFileHandler):
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(mode=0o600)
        super().__init__(path, maxBytes=MOST_BYTES, backupCount=OLD_FILES, encoding="utf-8", chmod=0o600, umask=0o077)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  the name is logging's
        """Say once that nothing can be written, such as on a full disk, and write no more."""
        _PACKAGE.removeHandler(self)
        _say_unwritable(self.path, sys.exc_info()[1])


def _facts(record: logging.LogRecord) -> Mapping[str, str]:
    return {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "module": record.name.removeprefix("partner_center_pipeline."),
        "process": str(os.getpid()),
        **at_work_on(),
    }


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({**_facts(record), "message": record.getMessage()}, ensure_ascii=False)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at, level, module, *others = _facts(record).items()
        named = " ".join(f"{name}={value}" for name, value in others)
        return _CONTROLS.sub(" ", f"{at[1]} {level[1]:7} {module[1]} [{named}] {record.getMessage()}")
