"""Texts and JSON of the kinds that referrals bring, and of kinds they should not."""

from typing import Any

from hypothesis import strategies as st

_FORMS = (
    "{}", "http://{}/yol?a=b#c", "HTTPS://u:p@{}:8443/", "mailto:{}", "ali@{}", "Ali <a@{}>", "//{}", "{}.",
    " {}\u00a0", "{}:80", "{}/x.com", "n/{}", "({})", "http:/{}",
)  # fmt: skip
_BETWEEN = (", ", ";", " / ", "/", " ve ", " VE ", " ", "\n")
_SUFFIXES = (
    "com.tr", "com", "tr", "org.tr", "gov.nc.tr", "uk.com", "blogspot.com", "hs01.kep.tr", "onmicrosoft.com",
    "kawasaki.jp", "ck", "xn--p1ai", "рф", "example", "com。tr", "COM.TR",
)  # fmt: skip
_ODD_LABELS = ("www", "www2", "xn--", "xn--a", "xn--k-ekaa7p", "xn--e28h", "mail", "-a", "a-", "a" * 64, "")
_ODD_LETTERS = "abIiİıŞşĞğÇçÖöÜüÂâ-_0123\u0307\u0301\u200b\u200c\u200d\u00ad\ufeffаяЖαΣςßש字😀ＡｂＣ"
_FIELDS = (
    "id", "engagementId", "organizationId", "name", "type", "qualification", "direction", "status", "substatus",
    "customerProfile", "details", "inviteContext", "invitedBy", "address", "team", "ids", "email", "firstName",
    "lastName", "phoneNumber", "profileType", "website", "companyWebsite", "azureTenantId", "tenantId", "city",
    "country", "size", "createdDateTime", "expirationDateTime", "closedDateTime", "dealValue", "currency",
    "requirements", "products", "notes",
)  # fmt: skip
_ODD_SCALARS = ("External", "msft", "Shared", "Independent", "Direct", "Closed", "1e999", "NaN", "10000", 10**400)

# Not Hypothesis's default: on a new machine its table takes seconds to make, and the first draw fails for slowness.
_any_letter = st.characters(exclude_categories=())
any_text = st.text(_any_letter)
"""Any text a JSON string can decode to, NUL and lone surrogates included."""

turkish_labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789çğıöşü", min_size=1, max_size=20)

# Composites rather than nested expressions: a failure then prints a name, not pages of strategy.


@st.composite
def _labels(draw: st.DrawFn) -> str:
    return draw(
        st.one_of(
            turkish_labels,
            turkish_labels.map(lambda label: f"xn--{label.encode('punycode').decode('ascii')}"),
            st.text(_ODD_LETTERS, min_size=1, max_size=8),
            st.sampled_from(_ODD_LABELS),
            any_text,
        )
    )


@st.composite
def _values(draw: st.DrawFn) -> str:
    labels = draw(st.lists(_labels(), max_size=4))
    return draw(st.sampled_from(_FORMS)).format(".".join([*labels, draw(st.sampled_from(_SUFFIXES))]))


@st.composite
def _texts(draw: st.DrawFn) -> str:
    if draw(st.integers(0, 4)) == 0:
        return draw(any_text)
    return draw(st.sampled_from(_BETWEEN)).join(draw(st.lists(_values(), min_size=1, max_size=3)))


texts = _texts()
"""Texts with and without a domain."""


@st.composite
def _scalars(draw: st.DrawFn) -> Any:
    return draw(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_text, texts, st.sampled_from(_ODD_SCALARS))
    )


@st.composite
def _keys(draw: st.DrawFn) -> str:
    return draw(st.one_of(st.sampled_from(_FIELDS), st.text(_any_letter, max_size=3)))


json_values: st.SearchStrategy[Any] = st.recursive(
    _scalars(),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys(), inner, max_size=5)),
    max_leaves=12,
)


@st.composite
def _objects(draw: st.DrawFn, /, **fields: st.SearchStrategy[Any]) -> Any:
    """An object with some of the fields, mostly of the right type."""
    if draw(st.integers(0, 9)) == 0:
        return draw(json_values)
    return {name: draw(strategy) for name, strategy in fields.items() if draw(st.booleans())}


@st.composite
def _payloads(draw: st.DrawFn) -> dict[str, Any]:
    if draw(st.integers(0, 4)) == 0:
        return draw(st.dictionaries(_keys(), json_values, max_size=8))
    scalar = _scalars()
    member = _objects(email=scalar, firstName=scalar, lastName=scalar, phoneNumber=scalar)
    identity = _objects(profileType=st.just("External"), id=scalar)
    profile = _objects(
        name=scalar,
        team=st.lists(member, max_size=3) | json_values,
        ids=st.lists(identity, max_size=2) | identity | json_values,
        website=scalar,
        address=_objects(country=scalar, city=scalar),
    )
    details = _objects(
        notes=scalar,
        dealValue=scalar,
        currency=scalar,
        tenantId=scalar,
        requirements=_objects(products=st.lists(_objects(id=scalar), max_size=2) | json_values),
    )
    fields = {
        "id": json_values,
        "status": scalar,
        "type": scalar,
        "qualification": scalar,
        "organizationId": scalar,
        "azureTenantId": scalar,
        "inviteContext": _objects(invitedBy=_objects(organizationId=scalar)),
        "customerProfile": profile,
        "details": details,
    }
    return {name: draw(strategy) for name, strategy in fields.items() if draw(st.booleans())}


payloads: st.SearchStrategy[dict[str, Any]] = _payloads()
"""JSON objects: like referrals, but any value anywhere."""
