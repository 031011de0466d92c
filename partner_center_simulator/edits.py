"""What POST, PATCH and PUT may write: rules without side effects (partner_center_api.md, sections 3.5 and 6).

Not here: HTTP (`referrals`), storing (`world`).

Where Microsoft's documents say nothing: unknown keys and nulls of a body are ignored; PUT keeps the fields that its
body does not name; a registration may be added to a won deal although it is closed.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from partner_center_simulator.payloads import MICROSOFT, Payload
from partner_center_simulator.responses import ApiError, invalid
from partner_center_simulator.seeded_random import guid

SUBSTATUSES: Final[Mapping[str, frozenset[str]]] = {
    "New": frozenset({"Pending", "Received"}),
    "Active": frozenset({"Accepted"}),
    "Closed": frozenset({"Won", "Lost", "Declined", "Expired"}),
}
"""Which substatus is allowed in which status."""

NEXT_STATUSES: Final[Mapping[str, frozenset[str]]] = {
    "New": frozenset({"New", "Active", "Closed"}),
    "Active": frozenset({"Active", "Closed"}),
    "Closed": frozenset(),
}
"""The statuses that may follow a status. A closed referral cannot be edited."""

MICROSOFT_FIELDS: Final[Payload] = {"organizationId": MICROSOFT, "organizationName": "Microsoft"}
"""The fields in which Microsoft's record of an engagement differs from the partner's (section 3.3)."""


def _number(value: object) -> object:
    """Convert a text to a number: Microsoft's samples of PATCH send a deal's value as text."""
    return float(value) if isinstance(value, str) else value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel)


class _Preference(_Part):
    locale: str | None = None
    disable_notifications: bool | None = None


class _Member(_Part):
    first_name: str | None = None
    last_name: str | None = None
    phone_number: str | None = None
    email: str | None = None
    title: str | None = None
    contact_preference: _Preference | None = None


class _Address(_Part):
    address_line1: str | None = Field(None, alias="addressLine1")
    address_line2: str | None = Field(None, alias="addressLine2")
    city: str | None = None
    state: str | None = None
    postal_code: str | None = None
    country: Annotated[str, Field(pattern="^[A-Za-z]{2}$")] | None = None
    region: str | None = None


class _Customer(_Part):
    name: str | None = None
    address: _Address | None = None
    size: str | None = None
    team: list[_Member] | None = None
    ids: list[dict[str, Any]] | dict[str, Any] | None = None


class _Consent(_Part):
    consent_to_contact: bool | None = None
    consent_to_to_share_info_with_others: bool | None = None
    consent_to_share_referral_with_microsoft_sellers: bool | None = None


class _Id(_Part):
    id: str | None = None


class _Solution(_Part):
    id: str | None = None
    name: str | None = None
    type: str | None = None


class _Requirements(_Part):
    industries: list[_Id] | None = None
    products: list[_Id] | None = None
    services: list[_Id] | None = None
    solutions: list[_Solution] | None = None
    offers: list[Any] | None = None
    additional_requirements: dict[str, Any] | None = None


class _Details(_Part):
    notes: str | None = None
    deal_value: Number | None = None
    currency: str | None = None
    closing_date_time: str | None = None
    customer_action: str | None = None
    customer_requested_contact: bool | None = None
    requirements: _Requirements | None = None


class _Target(_Part):
    type: Literal["None", "BusinessProfileLocation", "SolutionProfile"]
    id: str | None = None


class _InvitedBy(_Part):
    organization_id: str | None = None
    organization_name: str | None = None


class _Invitation(_Part):
    notes: str | None = None
    assistance_request_code: (
        Literal[
            "Unknown",
            "GeneralOrOther",
            "CustomerTechnicalArchitecture",
            "ProofOfConceptOrDemo",
            "QuotesOrLicensing",
            "PostSalesCustomerSuccess",
            "WorkloadSpecificValueProposition",
        ]
        | None
    ) = None
    invited_by: _InvitedBy | None = None


class _Body(_Part):
    """The editable fields of a referral; the first four are required (section 3.5)."""

    type: Literal["Independent", "Shared"]
    customer_profile: _Customer
    consent: _Consent
    details: _Details
    name: str | None = None
    engagement_id: str | None = None
    external_reference_id: str | None = None
    status: str | None = None
    substatus: str | None = None
    status_reason: str | None = None
    qualification: Literal["None", "Direct", "MarketingQualified", "SalesQualified"] | None = None
    campaign_id: str | None = None
    referral_program: str | None = None
    sales_stage: str | None = None
    team: list[_Member] | None = None
    target: list[_Target] | None = None
    invite_context: _Invitation | None = None


class _Contract(_Part):
    value: Number | None = None
    currency: str | None = None
    start_date_time: str | None = None
    end_date_time: str | None = None
    sign_date_time: str | None = None
    term: Literal["Finite", "Perpetual"] | None = None


class _Marketplace(_Part):
    is_marketplace_transacted: bool | None = None
    marketplace_transaction_date_time: str | None = None


class _SolutionDetail(_Part):
    id: str | None = None
    name: str | None = None
    value: Number | None = None
    currency: str | None = None
    is_deployed_on_azure: bool | None = None
    primary_deployment_on: Literal["Customer", "Partner"] | None = None
    pricing_model: Literal["PayAsYouGo", "Other"] | None = None
    marketplace_transaction_details: _Marketplace | None = None


class _Registration(_Part):
    type: Literal["AzureIPCoSell"]
    contract: _Contract | None = None
    solution_details: list[_SolutionDetail] | None = None


class _Operation(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    op: Literal["replace", "add"] = "replace"
    path: str
    value: Any


_CONTRACT: Final = "/registrations/0/contract"
_SOLUTION: Final = "/registrations/0/solutionDetails/0"
_MARKETPLACE: Final = f"{_SOLUTION}/marketplaceTransactionDetails"
_TEXT: Final = str | None
_OPERATIONS: Final = TypeAdapter(list[_Operation])


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


_PATCHABLE_TYPES: Final[Mapping[str, Any]] = {
    "/campaignId": _TEXT,
    "/consent/consentToShareReferralWithMicrosoftSellers": bool,
    "/customerProfile/team": list[_Member],
    "/customerProfile/team/-": _Member,
    "/details/closingDateTime": _TEXT,
    "/details/currency": _TEXT,
    "/details/dealValue": Number | None,
    "/details/notes": _TEXT,
    "/details/requirements/solutions": list[_Solution],
    "/details/requirements/solutions/-": _Solution,
    "/externalReferenceId": _TEXT,
    "/referralProgram": str,
    "/salesStage": _TEXT,
    "/status": str,
    "/substatus": str,
    "/statusReason": _TEXT,
    "/team": list[_Member],
    "/team/-": _Member,
    "/registrations/-": _Registration,
    f"{_CONTRACT}/startDateTime": str,
    f"{_CONTRACT}/endDateTime": str,
    f"{_CONTRACT}/signDateTime": str,
    f"{_CONTRACT}/term": Literal["Finite", "Perpetual"],
    f"{_CONTRACT}/value": Number,
    f"{_SOLUTION}/value": Number,
    f"{_SOLUTION}/currency": str,
    f"{_SOLUTION}/isDeployedOnAzure": bool,
    f"{_SOLUTION}/primaryDeploymentOn": Literal["Customer", "Partner"],
    f"{_SOLUTION}/pricingModel": Literal["PayAsYouGo", "Other"],
    f"{_MARKETPLACE}/isMarketplaceTransacted": bool,
    f"{_MARKETPLACE}/marketplaceTransactionDateTime": str,
}
_PATCHABLE: Final = {
    path: TypeAdapter[Any](kind, config=None if _is_model(kind) else _Part.model_config)
    for path, kind in _PATCHABLE_TYPES.items()
}
"""The paths that may be patched (section 3.5), each with the validator of its value."""


def read_body(body: object) -> Payload:
    """Return the editable fields that the body of a POST or PUT names. Raises ApiError (400)."""
    try:
        return _Body.model_validate(body).model_dump(by_alias=True, exclude_none=True)
    except ValidationError as error:
        raise _invalid_value(error) from None


def new_referral(body: Payload, server_fields: Payload, now: str) -> Payload:
    """Return the partner's new referral: always accepted, whatever state was sent (section 6).

    `server_fields` are those that the server sets: ids, organization, links, instants. `now` is an instant's text.
    """
    state = {"status": "Active", "substatus": "Accepted", "acceptedDateTime": now, "direction": "Outgoing"}
    engagement = {"engagementId": body.get("engagementId") or server_fields["engagementId"]}
    return server_fields | body | state | engagement


def is_shared_with_microsoft(body: Payload) -> bool:
    """Say whether the target is Microsoft, so that the engagement has a second record there (section 3.3)."""
    return any(target.get("id") == MICROSOFT for target in body.get("target") or ())


def apply_put(row: Payload, body: Payload, now: str, *, conflict: int) -> Payload:
    """Return the row after a PUT of `body` (see `read_body`). Raises ApiError: 400, or `conflict` for a wrong state."""
    if body.get("engagementId", row["engagementId"]) != row["engagementId"]:
        raise invalid("A referral stays in its engagement.")
    after = row | body
    for field in ("status", "substatus"):  # an empty text counts as not sent
        after[field] = body.get(field) or row.get(field)
    return _with_state_instants(row, after, now, conflict)


def apply_patch(row: Payload, document: object, now: str, *, conflict: int) -> Payload:
    """Return the row after all operations of a JSON Patch. Raises ApiError: 400, or `conflict` for a wrong state."""
    try:
        operations = _OPERATIONS.validate_python(document)
    except ValidationError as error:
        raise _invalid_value(error) from None
    after = deepcopy(row)
    for operation in operations:
        if operation.path not in _PATCHABLE:
            raise invalid("The path cannot be patched.")
        try:
            value = _PATCHABLE[operation.path].validate_python(operation.value)
        except ValidationError as error:
            raise _invalid_value(error) from None
        _apply(after, operation.op, operation.path, _as_json(value), now)
    only_registrations = all(operation.path.startswith("/registrations/") for operation in operations)
    if only_registrations and row.get("substatus") == "Won":
        return after
    return _with_state_instants(row, after, now, conflict)


def _apply(row: Payload, op: str, path: str, value: Any, now: str) -> None:
    *steps, last = path[1:].split("/")
    node: Any = row
    for step, next_step in zip(steps, (*steps, last)[1:], strict=True):
        if isinstance(node, list):
            if not node:
                raise invalid("There is no registration to patch.")
            node = node[int(step)]
            continue
        if node.get(step) is None:
            node[step] = [] if next_step in ("-", "0") else {}
        node = node[step]
    if last != "-":
        node[last] = value
        return
    if op != "add":
        raise invalid("Only 'add' can append to a list.")
    if path == "/registrations/-":
        value = value | {
            "id": guid("registration", row["id"], len(node)),
            "registrationDateTime": now,
            "status": "ReviewPending",
            "statusHistory": {"reviewPendingDateTime": now},
        }
        row["registrationStatus"] = "ReviewPending"
    node.append(value)


def _with_state_instants(before: Payload, after: Payload, now: str, conflict: int) -> Payload:
    """Return the changed row with the instants of its state. Raises ApiError if the state may not follow."""
    old_status, status = before.get("status", ""), after.get("status", "")
    if status not in NEXT_STATUSES.get(old_status, ()) or after.get("substatus") not in SUBSTATUSES[status]:
        raise ApiError(conflict, "invalidRequest", "The referral's status and substatus do not allow this change.")
    if status == "Active" and old_status != "Active":
        after |= {"acceptedDateTime": now, "expirationDateTime": None}
    if status == "Closed":
        after |= {"closedDateTime": now}
    return after


def _as_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_none=True)
    return [_as_json(each) for each in value] if isinstance(value, list) else value


def _invalid_value(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    path = "/".join(str(step) for step in first["loc"]) or "body"
    return invalid(f"{path}: {first['msg']}"[:1024])
