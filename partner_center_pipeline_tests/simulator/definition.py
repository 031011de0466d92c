"""Microsoft's own definition of the Referrals API, and where its samples and documents contradict it.

What belongs here: `data/partner_center_referrals_swagger.json` (repository microsoft/PowerPlatformConnectors,
certified-connectors/PartnerCenterReferrals), and `DEVIATIONS`, the one table by which it is amended. What does not:
the tests that need it (`test_conformance`).

"Section" is one of partner_center_api.md. "Payloads" are published real payloads (section 3.2, "Value quirks").
"""

import json
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).parents[1] / "data"
DEFINITION: Final[dict[str, Any]] = json.loads(
    (DATA / "partner_center_referrals_swagger.json").read_text(encoding="utf-8")
)
REFERRAL: Final = "Microsoft.Partner.Service.PartnerReferrals.Contracts.V3.Referral"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One amendment; `amend` changes a copy of the definition in place."""

    name: str
    source: str
    amend: Callable[[dict[str, Any]], None]


def amended(deviations: Iterable[Deviation]) -> dict[str, Any]:
    """The definition with these deviations allowed."""
    definition = deepcopy(DEFINITION)
    for deviation in deviations:
        deviation.amend(definition)
    return definition


def _schema(definition: dict[str, Any], path: str) -> dict[str, Any]:
    """The schema of a field of the referral; `*` steps into a list."""
    schema: dict[str, Any] = definition["definitions"][REFERRAL]
    for step in path.split("/"):
        schema = schema["items"] if step == "*" else schema["properties"][step]
    return schema


def _null(path: str, source: str) -> Deviation:
    def amend(definition: dict[str, Any]) -> None:
        _schema(definition, path)["x-nullable"] = True

    return Deviation(f"null in {path}", source, amend)


def _any_type(path: str, source: str) -> Deviation:
    def amend(definition: dict[str, Any]) -> None:
        schema = _schema(definition, path)
        schema.pop("type")
        schema.pop("items", None)

    return Deviation(f"another type in {path}", source, amend)


def _any_text(path: str, source: str) -> Deviation:
    def amend(definition: dict[str, Any]) -> None:
        _schema(definition, path).pop("enum")

    return Deviation(f"another value in {path}", source, amend)


def _status(code: int, methods: str, source: str) -> Deviation:
    def amend(definition: dict[str, Any]) -> None:
        for operations in definition["paths"].values():
            for method in methods.split():
                if method in operations:
                    operations[method]["responses"][str(code)] = {"description": source}

    return Deviation(f"status {code}", source, amend)


def _patched_referral(definition: dict[str, Any]) -> None:
    for operations in definition["paths"].values():
        if "patch" in operations:
            operations["patch"]["responses"]["200"] = {
                "description": "Prefer: return=representation",
                "schema": {"$ref": f"#/definitions/{REFERRAL}"},
            }


def _no_body(definition: dict[str, Any]) -> None:
    for operations in definition["paths"].values():
        if "patch" in operations:
            operations["patch"]["responses"]["204"].pop("schema")


_ALL: Final = "get post put patch"
_CODES: Final = "referrals-api-response-codes (section 4)"

DEVIATIONS: Final = (
    _null("externalReferenceId", "sample created_referral.json"),
    _null("expirationDateTime", "sample created_referral.json"),
    _null("statusReason", "sample single_referral.json"),
    _any_type("customerProfile/ids", "sample list_page.json has {}; payloads have null as well (section 3.2)"),
    _null("acceptedDateTime", "payloads: not accepted yet (section 3.1)"),
    _null("closedDateTime", "payloads: not closed yet (section 3.1)"),
    _null("campaignId", "section 3.1"),
    _null("salesStage", "section 3.4"),
    _any_text("salesStage", "payloads hold percent texts such as '100' (section 3.4)"),
    _null("customerProfile/size", "payloads (section 3.2)"),
    _null("customerProfile/address/state", "payloads: the value stands in region (section 3.2)"),
    _null("customerProfile/address/region", "payloads (section 3.2)"),
    _null("customerProfile/team/*/contactPreference", "payloads (section 3.6, example C)"),
    _null("customerProfile/team/*/contactPreference/locale", "payloads (section 3.6, example A)"),
    _null("customerProfile/team/*/contactPreference/disableNotifications", "payloads (section 3.6, example A)"),
    _null("team/*/contactPreference", "payloads: the same member type (section 3.2)"),
    _null("team/*/contactPreference/locale", "payloads: the same member type (section 3.2)"),
    _null("team/*/contactPreference/disableNotifications", "payloads: the same member type (section 3.2)"),
    _null("details/notes", "payloads (section 3.6, example C)"),
    _null("details/dealValue", "payloads (section 3.6, example C)"),
    _null("details/currency", "payloads (section 3.6, example C)"),
    _null("details/closingDateTime", "payloads (section 3.6, example A)"),
    _null("inviteContext", "payloads (section 3.6, example C)"),
    _null("inviteContext/notes", "payloads (section 3.6, example A)"),
    _null("trackingInfo", "payloads (section 3.6, example A)"),
    Deviation("a patched referral", "update-a-referral: 200 with Prefer: return=representation", _patched_referral),
    Deviation("no body with 204", "RFC 9110, section 15.3.5; update-a-referral", _no_body),
    _status(201, "post", f"{_CODES}; assumption created_status_201"),
    _status(409, "put patch", f"{_CODES}; assumption illegal_transition_409"),
    _status(412, "put patch", f"update-a-referral, If-Match; {_CODES}"),
    _status(415, "post put patch", _CODES),
    _status(429, _ALL, f"api-throttling-guidance; {_CODES}"),
    _status(502, _ALL, "gateways in front of the API (section 4)"),
    _status(503, _ALL, _CODES),
    _status(504, _ALL, _CODES),
    _status(509, _ALL, _CODES),
)
"""What the definition does not know although Microsoft's samples, documents or payloads show it."""
