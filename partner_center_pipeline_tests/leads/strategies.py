"""Texts and JSON of the kinds that referrals bring, and of kinds they should not."""

from typing import Any

from hypothesis import strategies as st

SUFFIXES = ("com.tr", "com", "tr", "org.tr", "gov.nc.tr", "uk.com", "blogspot.com", "hs01.kep.tr", "onmicrosoft.com",
            "kawasaki.jp", "ck", "xn--p1ai", "рф", "example", "com。tr", "COM.TR")  # fmt: skip

any_text = st.text(st.characters(exclude_categories=()))
"""Any text a JSON string can decode to, NUL and lone surrogates included."""

turkish_labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789çğıöşü", min_size=1, max_size=20)

labels = st.one_of(
    turkish_labels,
    st.text("abIiİıŞşĞğÇçÖöÜüÂâ-_0123\u0307\u0301\u200b\u200c\u200d\u00ad\ufeffаяЖαβßש字😀ＡｂＣ", min_size=1, max_size=8),
    st.sampled_from(["www", "www2", "xn--", "xn--a", "xn--k-ekaa7p", "xn--e28h", "mail", "-a", "a-", "a" * 64, ""]),
    turkish_labels.map(lambda label: label.encode("idna", "ignore").decode("ascii")),
    any_text,
)
names = st.builds(lambda parts, suffix: ".".join([*parts, suffix]), st.lists(labels, max_size=4), st.sampled_from(SUFFIXES))
_values = st.builds(
    lambda form, name: form.format(name),
    st.sampled_from(["{}", "http://{}/yol?a=b#c", "HTTPS://u:p@{}:8443/", "mailto:{}", "ali@{}", "Ali <a@{}>", "//{}",
                     "{}.", " {}\u00a0", "{}:80", "{}/x.com", "n/{}", "({})", "http:/{}"]),
    names,
)  # fmt: skip
texts = st.one_of(
    any_text,
    _values,
    st.builds(lambda parts, between: between.join(parts), st.lists(_values, min_size=2, max_size=3),
              st.sampled_from([", ", ";", " / ", "/", " ve ", " VE ", " ", "\n"])),
)  # fmt: skip
"""Texts with and without a domain."""

FIELDS = ("id", "engagementId", "organizationId", "name", "type", "qualification", "direction", "status", "substatus",
          "customerProfile", "details", "inviteContext", "invitedBy", "address", "team", "ids", "email", "firstName",
          "lastName", "phoneNumber", "profileType", "website", "companyWebsite", "azureTenantId", "tenantId", "city",
          "country", "size", "createdDateTime", "expirationDateTime", "closedDateTime", "dealValue", "currency",
          "requirements", "products", "notes")  # fmt: skip

_keys = st.one_of(st.sampled_from(FIELDS), st.text(max_size=3))
_scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), any_text, texts,
    st.sampled_from(["External", "msft", "Shared", "Independent", "Direct", "Closed", "1e999", "NaN", "10000", 10**400]),
)  # fmt: skip
json_values: st.SearchStrategy[Any] = st.recursive(
    _scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=5)),
    max_leaves=20,
)

_members = st.one_of(
    json_values,
    st.fixed_dictionaries({}, optional={
        "email": _scalars, "firstName": _scalars, "lastName": _scalars, "phoneNumber": _scalars,
    }),
)  # fmt: skip
_profiles = st.fixed_dictionaries({}, optional={
    "name": json_values, "team": st.one_of(st.lists(_members, max_size=3), json_values), "website": _scalars,
    "ids": st.one_of(
        json_values, st.lists(st.fixed_dictionaries({"profileType": st.just("External"), "id": _scalars}), max_size=2)
    ),
    "address": st.one_of(json_values, st.fixed_dictionaries({"country": _scalars, "city": _scalars})),
    "size": json_values,
})  # fmt: skip
_details = st.fixed_dictionaries({}, optional={
    "notes": json_values, "dealValue": _scalars, "currency": json_values, "tenantId": _scalars,
    "requirements": st.one_of(json_values, st.fixed_dictionaries({"products": json_values})),
})  # fmt: skip
payloads: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.dictionaries(_keys, json_values, max_size=8),
    st.fixed_dictionaries({}, optional={
        "id": json_values, "status": json_values, "type": _scalars, "qualification": _scalars,
        "customerProfile": st.one_of(_profiles, json_values), "details": st.one_of(_details, json_values),
        "inviteContext": json_values, "azureTenantId": _scalars,
    }),
)  # fmt: skip
"""JSON objects: like referrals, but any value anywhere."""
