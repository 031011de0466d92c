"""What `deploy/` says: units of systemd, the services of Compose, the Dockerfile's instructions."""

import json
import re
from collections.abc import Mapping
from configparser import RawConfigParser
from io import BytesIO
from typing import Any, Final

import yaml
from compose_spec import PyCompose
from dockerfile_parse import DockerfileParser

from partner_center_pipeline.settings import PROJECT_ROOT

DEPLOY: Final = PROJECT_ROOT / "deploy"
UNITS: Final = sorted((DEPLOY / "systemd").iterdir())


def unit(name: str) -> dict[str, list[str]]:
    """The lines of a unit, by their key: a key may stand there more than once."""
    found: dict[str, list[str]] = {}
    for line in (DEPLOY / "systemd" / name).read_text(encoding="utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def sections(name: str) -> set[str]:
    """The sections of a unit."""
    parser = RawConfigParser(strict=False)
    parser.read(DEPLOY / "systemd" / name, encoding="utf-8")
    return set(parser.sections())


def compose() -> dict[str, Any]:
    """The Compose file, with its anchors put in, checked against the specification."""
    document: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    PyCompose.from_json(json.dumps(document)).validate()
    return document


def filled_in(text: str, values: Mapping[str, str]) -> str:
    """A value of the Compose file with its variables filled in; a variable that is missing fails."""
    return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda found: values[found[1]], text)


def instructions(name: str = "Dockerfile") -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, in order, with their values."""
    parser = DockerfileParser(fileobj=BytesIO((DEPLOY / name).read_bytes()))
    return [(entry["instruction"], entry["value"]) for entry in parser.structure if entry["instruction"] != "COMMENT"]
