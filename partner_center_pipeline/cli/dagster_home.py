"""The `dagster.yaml` of a home folder, which is Dagster's own home (DAGSTER_HOME).

An operator's own file is used and never changed. Where there is none, the one that the program brings is written there,
under a line with its digest; as long as the digest fits, nobody has edited the file, and a newer program renews it.
"""

import os
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Final

from partner_center_pipeline.settings import SHIPPED

_NAME: Final = "dagster.yaml"
_HEAD: Final = "# Renewed by partner-center while nobody edits it; once edited it is yours, and stays. SHA-256: "


def write_dagster_yaml(home: Path) -> Path:
    """Write the program's `dagster.yaml` into a home folder that has none or an older one of the program's.

    Returns where it is. Raises OSError, which names the file.
    """
    file = home / _NAME
    wanted = _marked((SHIPPED / _NAME).read_bytes())
    present = file.read_bytes() if file.exists() else None
    if present == wanted or (present is not None and not _is_unedited(present)):
        return file
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{_NAME}-", dir=home)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(wanted)
            Path(temporary).replace(file)  # whole: other processes may read it at this moment
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None
    return file


def dagster_home_to_read(home: Path) -> Path:
    """Return the folder whose `dagster.yaml` counts for a home folder; nothing is written."""
    return home if (home / _NAME).exists() else SHIPPED


def _marked(content: bytes) -> bytes:
    return f"{_HEAD}{sha256(content).hexdigest()}\n".encode() + content


def _is_unedited(content: bytes) -> bool:
    _, _, rest = content.partition(b"\n")
    return content == _marked(rest)
