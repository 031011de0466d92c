"""What POST, PATCH and PUT may write: pure rules over rows (partner_center_api.md, sections 3.5 and 6).

Required fields, the paths of a JSON Patch, states and how they follow each other. Not here: HTTP (`referrals`),
storing (`world`).

Where the documents say nothing: unknown keys and nulls of a body are dropped; PUT leaves alone what its body does not
name; a registration may be added to a closed deal that was won, for that is when it is made.
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

FOLLOWS: Final[Mapping[str, frozenset[str]]] = {
    "New": frozenset({"New", "Active", "Closed"}),
    "Active": frozenset({"Active", "Closed"}),
    "Closed": frozenset(),
}
"""What a status may become; a closed referral is not edited at all."""


MICROSOFTS_SIDE: Final[Payload] = {"organizationId": MICROSOFT, "organizationName": "Microsoft"}
"""What sets Microsoft's record of an engagement apart from the partner's (section 3.3)."""


def _number(value: object) -> object:
    """Read a text as a number: samples of PATCH send a deal's value so."""
    if isinstance(value, str):
        return float(value)
    return value


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


_KINDS: Final[Mapping[str, Any]] = {
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
_PATHS: Final = {
    path: TypeAdapter[Any](kind, config=None if _is_model(kind) else _Part.model_config)
    for path, kind in _KINDS.items()
}
"""The paths that may be patched (section 3.5), each with the check of its value."""


def read_body(body: object) -> Payload:
    """Return the editable fields that the body of a POST or PUT names. Raises ApiError (400)."""
    try:
        return _Body.model_validate(body).model_dump(by_alias=True, exclude_none=True)
    except ValidationError as error:
        raise _invalid_value(error) from None


def created(body: Payload, skeleton: Payload, now: str) -> Payload:
    """Return the partner's new referral: its deals come back accepted, whatever state was sent (section 6).

    `skeleton` has what the server sets: ids, organization, links, instants. `now` is an instant's text.
    """
    state = {"status": "Active", "substatus": "Accepted", "acceptedDateTime": now, "direction": "Outgoing"}
    return skeleton | body | state | {"engagementId": body.get("engagementId") or skeleton["engagementId"]}


def shared_with_microsoft(body: Payload) -> bool:
    """Whether the target is Microsoft's side, so that the engagement has a twin record there (section 3.3)."""
    return any(target.get("id") == MICROSOFT for target in body.get("target") or ())


def replaced(row: Payload, body: Payload, now: str, *, conflict: int = 400) -> Payload:
    """Return the row after a PUT of `body` (see `read_body`). Raises ApiError: 400, or `conflict` for a state."""
    if body.get("engagementId", row["engagementId"]) != row["engagementId"]:
        raise invalid("A referral stays in its engagement.")
    after = row | body
    for field in ("status", "substatus"):  # an empty state is no state
        after[field] = body.get(field) or row.get(field)
    return _moved_on(row, after, now, conflict)


def patched(row: Payload, document: object, now: str, *, conflict: int = 400) -> Payload:
    """Return the row after a JSON Patch, all of it or nothing. Raises ApiError: 400, or `conflict` for a state."""
    try:
        operations = _OPERATIONS.validate_python(document)
    except ValidationError as error:
        raise _invalid_value(error) from None
    after = deepcopy(row)
    for operation in operations:
        if operation.path not in _PATHS:
            raise invalid("The path cannot be patched.")
        try:
            value = _PATHS[operation.path].validate_python(operation.value)
        except ValidationError as error:
            raise _invalid_value(error) from None
        _apply(after, operation.op, operation.path, _plain(value), now)
    only_registrations = all(operation.path.startswith("/registrations/") for operation in operations)
    if only_registrations and row.get("substatus") == "Won":
        return after
    return _moved_on(row, after, now, conflict)


def _apply(row: Payload, op: str, path: str, value: Any, now: str) -> None:
    *steps, last = path[1:].split("/")
    place: Any = row
    for at, step in enumerate(steps):
        if isinstance(place, list):
            if not place:
                raise invalid("There is no registration to patch.")
            place = place[int(step)]
            continue
        following = steps[at + 1] if at + 1 < len(steps) else last
        if place.get(step) is None:
            place[step] = [] if following in ("-", "0") else {}
        place = place[step]
    if last != "-":
        place[last] = value
        return
    if op != "add":
        raise invalid("Only 'add' can append to a list.")
    if path == "/registrations/-":
        value = value | {
            "id": guid("registration", row["id"], len(place)),
            "registrationDateTime": now,
            "status": "ReviewPending",
            "statusHistory": {"reviewPendingDateTime": now},
        }
        row["registrationStatus"] = "ReviewPending"
    place.append(value)


def _moved_on(before: Payload, after: Payload, now: str, conflict: int) -> Payload:
    """Return the row with the instants that its state brings, if the state may follow the one before."""
    was, status = before.get("status", ""), after.get("status", "")
    if status not in FOLLOWS.get(was, ()) or after.get("substatus") not in SUBSTATUSES[status]:
        raise ApiError(conflict, "invalidRequest", "The referral's status and substatus do not allow this change.")
    if status == "Active" and was != "Active":
        after |= {"acceptedDateTime": now, "expirationDateTime": None}
    if status == "Closed":
        after |= {"closedDateTime": now}
    return after


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_none=True)
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _invalid_value(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    place = "/".join(str(step) for step in first["loc"]) or "body"
    return invalid(f"{place}: {first['msg']}"[:1024])
