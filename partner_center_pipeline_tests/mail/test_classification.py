"""Who keeps the mailboxes: the rules of mail_signals.md, "Behind a gateway", over plain answers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from partner_center_pipeline.mail import Lookup, MailSignals
from partner_center_pipeline.mail.classification import conclude
from partner_center_pipeline.mail.signals import Evidence, Outcome
from partner_center_pipeline.vocabulary import Provider

NOW = datetime(2026, 4, 1, tzinfo=UTC)
NOTHING = Lookup(Outcome.NXDOMAIN, answered_at=NOW)
SILENCE = Lookup(Outcome.TIMEOUT, missed=Outcome.TIMEOUT)

GATEWAY = "10 mx1-eu1.ppe-hosted.com"
OWN = "10 mail.firma.com.tr"
DKIM_M365 = "selector1-firma-com-tr._domainkey.firmaas.onmicrosoft.com"
SPF_M365 = "v=spf1 include:spf.protection.outlook.com -all"
SPF_GOOGLE = "v=spf1 include:_spf.google.com ~all"
AUTODISCOVER_M365 = "autodiscover.outlook.com"


def found(*records: str, targets: tuple[str, ...] = ()) -> Lookup:
    return Lookup(Outcome.FOUND, records, targets, NOW)


def judged(
    mx: str | Lookup,
    changed: Mapping[str, Lookup] = MappingProxyType({}),
    /,
    *,
    txt: str | None = None,
    dkim: str | None = None,
    autodiscover: str | None = None,
) -> MailSignals:
    """The signals of a domain where every look-up was answered, most of them with nothing."""
    lookups = {
        "mx": found(mx) if isinstance(mx, str) else mx,
        "txt": found(txt) if txt else NOTHING,
        "dmarc": NOTHING,
        "dkim:selector1": Lookup(Outcome.NXDOMAIN, targets=(dkim,), answered_at=NOW) if dkim else NOTHING,
        "dkim:default": NOTHING,
        "autodiscover": found(autodiscover) if autodiscover else NOTHING,
        "ns": NOTHING,
    }
    return conclude("firma.com.tr", {**lookups, **changed}, NOW)


def test_an_mx_of_a_mailbox_provider_names_it_whatever_else_is_seen() -> None:
    signals = judged("10 aspmx.l.google.com", txt=SPF_M365, autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.provider_name, signals.gateway) == (Provider.GOOGLE, "Google Workspace", None)
    assert signals.confidence == 95
    assert signals.evidence[0] == Evidence("mx", "aspmx.l.google.com", "Google")


def test_consumer_outlook_is_named_and_scores_as_unknown() -> None:
    signals = judged("10 firma.olc.protection.outlook.com")
    assert (signals.provider, signals.provider_name) == (Provider.UNKNOWN, "consumer Outlook")


@pytest.mark.parametrize(
    ("hints", "confidence"),
    [
        ({"dkim": DKIM_M365}, 70),
        ({"autodiscover": AUTODISCOVER_M365}, 50),
        ({"txt": SPF_M365, "autodiscover": AUTODISCOVER_M365}, 75),
        ({"dkim": DKIM_M365, "txt": SPF_M365, "autodiscover": AUTODISCOVER_M365}, 92),
    ],
)
def test_behind_a_known_gateway_one_strong_hint_names_the_mailbox_and_more_make_it_surer(
    hints: dict[str, str], confidence: int
) -> None:
    signals = judged(GATEWAY, **hints)
    assert (signals.provider, signals.gateway) == (Provider.M365, "Proofpoint Essentials")
    assert signals.confidence == confidence
    assert Evidence("gateway", "mx1-eu1.ppe-hosted.com", "Proofpoint Essentials") in signals.evidence


def test_a_gateway_with_nothing_behind_it_is_unknown_and_named() -> None:
    signals = judged(GATEWAY)
    assert (signals.provider, signals.gateway, signals.confidence) == (Provider.UNKNOWN, "Proofpoint Essentials", 0)


def test_the_dkim_target_is_stronger_than_an_spf_include() -> None:
    signals = judged(GATEWAY, txt=SPF_GOOGLE, dkim=DKIM_M365)
    assert signals.provider is Provider.M365
    assert {"M365", "Google"} <= {evidence.points_to for evidence in signals.evidence}


def test_two_providers_with_the_same_weight_name_none() -> None:
    signals = judged(GATEWAY, txt="v=spf1 include:_spf.google.com include:spf.protection.outlook.com -all")
    assert (signals.provider, signals.notes) == (Provider.UNKNOWN, ("mailbox_conflict",))


def test_a_mail_service_goes_before_a_hoster_that_weighs_the_same() -> None:
    at_hoster = {"autodiscover_srv": found("0 0 443 autodiscover.turhost.com")}
    signals = judged(GATEWAY, at_hoster, autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.confidence, signals.notes) == (Provider.M365, 50, ())


@pytest.mark.parametrize(
    "txt", [SPF_M365, SPF_GOOGLE, "v=spf1 redirect=_spf.yandex.net", "v=spf1 ip4:40.92.0.0/15 ip4:40.107.1.0/24 -all"]
)
def test_an_spf_include_alone_names_nobody_behind_a_gateway_and_is_noted(txt: str) -> None:
    signals = judged(GATEWAY, txt=txt)
    assert (signals.provider, signals.provider_name, signals.confidence) == (Provider.UNKNOWN, None, 0)
    assert (signals.gateway, signals.notes) == ("Proofpoint Essentials", ("mailbox_hint",))


@pytest.mark.parametrize(
    "confirming",
    [
        {"lyncdiscover": found("webdir.online.lync.com")},
        {"enterpriseregistration": found("enterpriseregistration.windows.net")},
        {"tenant": found("00000000-0000-0000-0000-000000000001")},
    ],
)
def test_a_relation_with_microsoft_confirms_an_spf_include_and_names_nobody_alone(
    confirming: dict[str, Lookup],
) -> None:
    assert judged(GATEWAY, confirming, txt=SPF_M365).provider is Provider.M365
    assert judged(GATEWAY, confirming).provider is Provider.UNKNOWN
    assert judged(GATEWAY, confirming, txt=SPF_GOOGLE).provider is Provider.UNKNOWN
    assert judged(OWN, confirming, txt=SPF_M365).provider is Provider.LOCAL


def test_a_tenant_look_up_of_long_ago_confirms_nothing_any_more() -> None:
    old = Lookup(Outcome.FOUND, ("00000000-0000-0000-0000-000000000001",), (), NOW - timedelta(days=31))
    assert judged(GATEWAY, {"tenant": old}, txt=SPF_M365).provider is Provider.UNKNOWN


@pytest.mark.parametrize("mx", [GATEWAY, OWN])
def test_a_mail_service_at_another_preference_is_where_the_mailbox_is(mx: str) -> None:
    signals = judged(found(mx, "20 firma-com-tr.mail.protection.outlook.com"))
    assert (signals.provider, signals.confidence, signals.notes) == (Provider.M365, 70, ("mx_mixed_providers",))
    assert signals.decided_by == Evidence("mx_other", "firma-com-tr.mail.protection.outlook.com", "M365")


def test_a_hoster_at_another_preference_names_nobody() -> None:
    assert judged(found(OWN, "20 mx1.turhost.com")).provider is Provider.LOCAL


@pytest.mark.parametrize(
    ("mx", "else_provider"),
    [
        ("10 inbound-smtp.eu-west-1.amazonaws.com", Provider.AMAZON),
        ("10 mx.sendgrid.net", Provider.SENDGRID),
        ("10 mxa.mailgun.org", Provider.MAILGUN),
        ("10 route1.mx.cloudflare.net", Provider.UNKNOWN),
        ("10 mx1.improvmx.com", Provider.UNKNOWN),
    ],
)
def test_two_hints_name_the_mailbox_behind_a_service_that_keeps_none(mx: str, else_provider: Provider) -> None:
    two = judged(mx, dkim=DKIM_M365, autodiscover=AUTODISCOVER_M365)
    assert (two.provider, two.provider_name, two.gateway) == (Provider.M365, "Microsoft 365", None)
    one = judged(mx, autodiscover=AUTODISCOVER_M365)
    assert (one.provider, one.notes) == (else_provider, ("mailbox_hint",))
    assert judged(mx).notes == ()


def test_a_hosters_mx_with_all_of_microsoft_is_microsoft_less_surely_and_with_a_note() -> None:
    signals = judged("10 mx1.turhost.com", txt=SPF_M365, dkim=DKIM_M365, autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.confidence, signals.notes) == (Provider.M365, 70, ("mailbox_elsewhere",))


@pytest.mark.parametrize("hints", [{"dkim": DKIM_M365}, {"txt": SPF_M365, "autodiscover": AUTODISCOVER_M365}])
def test_a_hosters_mx_with_some_of_microsoft_is_the_hoster_less_surely_and_with_a_note(hints: dict[str, str]) -> None:
    signals = judged("10 mx1.turhost.com", **hints)
    assert (signals.provider, signals.confidence, signals.notes) == (Provider.HOSTING, 70, ("mailbox_elsewhere",))


def test_a_hosters_mx_with_an_spf_include_elsewhere_is_as_sure_as_ever() -> None:
    signals = judged("10 mx1.turhost.com", txt=SPF_M365)
    assert (signals.provider, signals.confidence, signals.notes) == (Provider.HOSTING, 95, ())


@pytest.mark.parametrize("mx", [GATEWAY, OWN, "10 route1.mx.cloudflare.net"])
def test_a_key_at_googles_selector_and_its_spf_are_two_hints_and_alone_neither_is_enough(mx: str) -> None:
    key = {"dkim:google": found("v=DKIM1; p=MIGf1")}
    both = judged(mx, key, txt=SPF_GOOGLE)
    assert (both.provider, both.confidence) == (Provider.GOOGLE, 65)
    assert judged(mx, key).provider is not Provider.GOOGLE
    assert judged(mx, txt=SPF_GOOGLE).provider is not Provider.GOOGLE
    assert judged(mx, key, txt=SPF_M365).provider not in (Provider.GOOGLE, Provider.M365)


def test_a_cname_at_googles_selector_is_no_key_of_googles() -> None:
    cname = {"dkim:google": found("v=DKIM1; p=MIGf1", targets=("dkim.gonderici.example",))}
    assert judged(OWN, cname, txt=SPF_GOOGLE).provider is Provider.LOCAL


@pytest.mark.parametrize(
    "meant", [{"autodiscover": f"{AUTODISCOVER_M365}.firma.com.tr"}, {"dkim": f"{DKIM_M365}.firma.com.tr"}]
)
def test_a_cname_without_its_last_dot_confirms_an_spf_include_and_names_nobody_alone(meant: dict[str, str]) -> None:
    both = judged(GATEWAY, txt=SPF_M365, **meant)
    assert (both.provider, both.confidence) == (Provider.M365, 65)
    alone = judged(GATEWAY, **meant)
    assert (alone.provider, alone.notes) == (Provider.UNKNOWN, ("mailbox_hint",))
    assert judged(GATEWAY, txt=SPF_GOOGLE, **meant).provider is Provider.UNKNOWN
    assert judged(OWN, txt=SPF_M365, **meant).provider is Provider.LOCAL


@pytest.mark.parametrize("target", ["autodiscover.firma.com.tr", f"{AUTODISCOVER_M365}.baska.example"])
def test_a_host_of_the_domains_own_and_one_below_another_domain_are_no_missing_dot(target: str) -> None:
    assert judged(GATEWAY, txt=SPF_M365, autodiscover=target).provider is Provider.UNKNOWN


@pytest.mark.parametrize(
    ("selector", "target", "name"),
    [
        ("hostingermail-a", "hostingermail-a.dkim.mail.hostinger.com", "Hostinger"),
        ("fm2", "fm2.firma.com.tr.dkim.fmhosted.com", "Fastmail"),
        ("protonmail", "protonmail.domainkey.d4zotdvax2.domains.proton.ch", "Proton Mail"),
    ],
)
def test_a_target_at_a_providers_own_selector_names_it(selector: str, target: str, name: str) -> None:
    signals = judged(GATEWAY, {f"dkim:{selector}": Lookup(Outcome.NXDOMAIN, targets=(target,), answered_at=NOW)})
    assert signals.provider_name == name


def test_an_autodiscover_srv_record_is_a_hint_like_the_cname() -> None:
    signals = judged(GATEWAY, {"autodiscover_srv": found("0 0 443 autodiscover.outlook.com")})
    assert (signals.provider, signals.confidence) == (Provider.M365, 50)


@pytest.mark.parametrize(
    "txt",
    [
        "v=spf1 -include:spf.protection.outlook.com -all",
        "v=spf1 -all include:spf.protection.outlook.com",
        "v=spf1 redirect=spf.protection.outlook.com -all",
    ],
)
def test_an_spf_term_that_lets_nobody_pass_is_no_hint(txt: str) -> None:
    assert judged(OWN, txt=txt, autodiscover=AUTODISCOVER_M365).provider is Provider.LOCAL


@pytest.mark.parametrize("other", ["aspmx.l.google.com", "mail.natrohost.com"])
def test_of_two_mailboxes_at_one_preference_the_one_that_more_points_at_decides(other: str) -> None:
    mx = found(f"10 {other}", "10 zz.mail.protection.outlook.com")
    signals = judged(mx, txt=SPF_M365, autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.confidence, signals.notes) == (Provider.M365, 70, ("mx_tie",))
    assert signals.evidence[0] == Evidence("mx", "zz.mail.protection.outlook.com", "M365")


def test_at_equal_preference_a_mail_service_goes_before_a_hoster_named_by_ns() -> None:
    mx = found("10 mail.natrohost.com", "10 zz.mail.protection.outlook.com")
    assert judged(mx, {"ns": found("ns1.natrohost.com")}).provider is Provider.M365


def test_more_hints_do_not_outweigh_a_lower_preference() -> None:
    mx = found("10 aspmx.l.google.com", "20 firma.mail.protection.outlook.com")
    signals = judged(mx, txt=SPF_M365, autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.notes) == (Provider.GOOGLE, ("mx_mixed_providers",))


def test_name_servers_alone_do_not_name_the_mailbox_behind_a_gateway() -> None:
    assert judged(GATEWAY, {"ns": found("ns1.natrohost.com")}).provider is Provider.UNKNOWN


def test_a_nested_include_is_a_hint_like_a_written_one() -> None:
    nested = {"spf_nested": found("spf.protection.outlook.com")}
    signals = judged(OWN, nested, txt="v=spf1 include:spf.firma.com.tr -all", autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.confidence) == (Provider.M365, 75)


def test_a_redirect_is_a_hint_like_an_include() -> None:
    signals = judged(OWN, txt="v=spf1 redirect=spf.protection.outlook.com", autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.confidence) == (Provider.M365, 75)


@pytest.mark.parametrize("hints", [{"dkim": DKIM_M365}, {"txt": SPF_M365}, {"autodiscover": AUTODISCOVER_M365}])
def test_one_hint_behind_an_unknown_mx_leaves_the_provider_local_with_a_note(hints: dict[str, str]) -> None:
    signals = judged(OWN, **hints)
    assert (signals.provider, signals.notes) == (Provider.LOCAL, ("mailbox_hint",))
    assert any(evidence.points_to == "M365" for evidence in signals.evidence)


def test_two_independent_hints_behind_an_unknown_mx_name_the_mailbox_provider() -> None:
    signals = judged(OWN, txt=SPF_M365, autodiscover=AUTODISCOVER_M365)
    assert (signals.provider, signals.provider_name, signals.gateway) == (Provider.M365, "Microsoft 365", None)
    assert signals.confidence == 75


def test_two_hints_of_one_kind_are_one_hint() -> None:
    both = "v=spf1 include:spf.protection.outlook.com redirect=spf.protection.office365.us"
    assert judged(OWN, txt=both).provider is Provider.LOCAL


def test_hints_at_two_hosters_are_not_two_hints_at_hosting() -> None:
    signals = judged(OWN, {"ns": found("ns1.natrohost.com")}, txt="v=spf1 include:_spf.turhost.com -all")
    assert signals.provider is Provider.LOCAL


def test_an_unknown_mx_and_nothing_else_is_local() -> None:
    signals = judged(OWN)
    assert (signals.provider, signals.provider_name, signals.confidence) == (Provider.LOCAL, None, 60)


def test_an_mx_host_that_is_a_cname_of_a_hoster_is_that_hoster() -> None:
    signals = judged(OWN, {"mx_hosts": found("mail.firma.com.tr mail.natrohost.com")})
    assert (signals.provider, signals.provider_name, signals.confidence) == (Provider.HOSTING, "Natro", 85)
    assert signals.evidence[0].kind == "mx_cname"


def test_name_servers_of_a_hoster_are_weak_evidence_and_leave_local() -> None:
    signals = judged(OWN, {"ns": found("ns1.natrohost.com")})
    assert (signals.provider, signals.notes) == (Provider.LOCAL, ("mailbox_hint",))
    assert Evidence("ns", "ns1.natrohost.com", "Hosting") in signals.evidence


def test_name_servers_of_a_mailbox_provider_are_no_evidence() -> None:
    assert len(judged(OWN, {"ns": found("ns1.google.com")}).evidence) == 1


@pytest.mark.parametrize("include", ["sendgrid.net", "amazonses.com", "mailgun.org"])
def test_a_service_that_only_sends_is_no_hint_at_the_mailbox(include: str) -> None:
    signals = judged(GATEWAY, txt=f"v=spf1 include:{include} -all")
    assert signals.provider is Provider.UNKNOWN
    assert signals.evidence[1].kind == "sender"


def test_ms_txt_is_a_note_and_no_hint() -> None:
    signals = judged(GATEWAY, txt="MS=ms12345678")
    assert (signals.provider, signals.notes, signals.verifications) == (
        Provider.UNKNOWN,
        ("ms_txt",),
        ("MS=ms12345678",),
    )


def test_a_microsoft_sign_in_service_is_recorded_and_is_no_hint() -> None:
    signals = judged(OWN, {"enterpriseregistration": found("enterpriseregistration.windows.net")})
    assert (signals.provider, signals.notes) == (Provider.LOCAL, ())
    assert signals.evidence[-1] == Evidence("microsoft", "enterpriseregistration.windows.net", "M365")


@pytest.mark.parametrize("target", [DKIM_M365, "selector1-firma-com-tr._domainkey.firmaas.n-v1.dkim.mail.microsoft"])
def test_a_dkim_target_is_tenant_evidence_and_the_provider_stays_what_the_mx_says(target: str) -> None:
    signals = judged(OWN, dkim=target)
    assert (signals.provider, signals.tenant, signals.tenant_source) == (Provider.LOCAL, "firmaas", "dkim_target")


def test_a_target_in_the_middle_of_a_chain_counts() -> None:
    chain = Lookup(Outcome.FOUND, ("v=DKIM1; p=A",), (DKIM_M365, "keys.internal.example"), NOW)
    signals = judged(GATEWAY, {"dkim:selector1": chain})
    assert (signals.provider, signals.tenant) == (Provider.M365, "firmaas")


@pytest.mark.parametrize(
    ("mx", "reason"),
    [
        (Lookup(Outcome.NXDOMAIN, answered_at=NOW), "nxdomain"),
        (Lookup(Outcome.NODATA, answered_at=NOW), "nodata"),
        (found("0 "), "null_mx"),
        (found("10 localhost"), "localhost"),
        (found("10 mail.sedoparking.com"), "parking"),
    ],
)
def test_no_mail_host_is_a_fact_with_a_reason(mx: Lookup, reason: str) -> None:
    signals = judged(mx)
    assert (signals.no_mx, signals.no_mx_reason, signals.provider) == (True, reason, Provider.UNKNOWN)
    assert signals.is_complete


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.SERVFAIL, Outcome.REFUSED, Outcome.MALFORMED])
def test_an_mx_that_was_not_answered_is_no_fact(outcome: Outcome) -> None:
    signals = judged(Lookup(outcome, missed=outcome))
    assert (signals.no_mx, signals.is_complete, signals.mx_outcome) == (False, False, outcome)
    assert signals.facts_from is None


@pytest.mark.parametrize("lookup", ["mx", "txt", "dmarc"])
def test_a_score_needs_mx_spf_and_dmarc_as_facts(lookup: str) -> None:
    assert judged(OWN).is_complete
    assert not judged(OWN, {lookup: SILENCE}).is_complete


def test_dkim_is_absent_only_when_every_selector_answered() -> None:
    assert judged(OWN).dkim_present is False
    assert judged(OWN, {"dkim:default": SILENCE}).dkim_present is None
    key = found("v=DKIM1; p=MIGf")
    assert judged(OWN, {"dkim:default": SILENCE, "dkim:mail": key}).dkim_present is True


def test_a_revoked_key_is_no_key() -> None:
    signals = judged(OWN, {"dkim:default": found("v=DKIM1; p=")})
    assert (signals.dkim_present, signals.dkim_selectors, signals.notes) == (False, (), ("dkim_revoked",))


def test_two_spf_records_are_noted() -> None:
    signals = judged(OWN, {"txt": found("v=spf1 -all", "v=spf1 mx -all")})
    assert (signals.spf.present, signals.spf.multiple, signals.notes) == (False, True, ("spf_multiple_records",))


def test_a_dmarc_record_of_a_domain_above_counts_when_the_domain_has_none() -> None:
    signals = judged(OWN, {"dmarc_above": found("com.tr v=DMARC1; p=reject; sp=none; psd=y")})
    assert signals.dmarc is not None
    assert (signals.dmarc_policy, signals.dmarc.sp, signals.dmarc.found_at) == ("none", "none", "com.tr")
    organisational = judged(OWN, {"dmarc_above": found("kurum.gov.tr v=DMARC1; p=reject; sp=none")})
    assert organisational.dmarc_policy == "reject"


def test_two_dmarc_records_count_as_none_and_are_noted() -> None:
    signals = judged(OWN, {"dmarc": found("v=DMARC1; p=reject", "v=DMARC1; p=none")})
    assert (signals.dmarc_policy, signals.notes) == (None, ("dmarc_multiple_records",))


@pytest.mark.parametrize(
    ("mx", "silent", "is_waited_for"),
    [
        (GATEWAY, {"autodiscover"}, True),
        (GATEWAY, {"dkim:selector1"}, True),
        (GATEWAY, {"ns"}, False),
        (GATEWAY, {"dkim:default"}, False),
        (GATEWAY, {"lyncdiscover"}, False),
        (GATEWAY, {"spf_nested"}, False),
        (GATEWAY, {"spf_nested", "lyncdiscover"}, True),
        (OWN, {"autodiscover"}, False),
        (OWN, {"autodiscover", "spf_nested"}, True),
        (OWN, {"dkim:selector1"}, True),
        (OWN, {"mx_hosts"}, True),
        ("10 route1.mx.cloudflare.net", {"autodiscover", "spf_nested"}, True),
        ("10 aspmx.l.google.com", {"autodiscover", "dkim:selector1", "ns"}, False),
    ],
)
def test_only_an_answer_that_could_change_the_segment_is_waited_for(
    mx: str, silent: set[str], is_waited_for: bool
) -> None:
    signals = judged(mx, dict.fromkeys(silent, SILENCE), txt="v=spf1 include:spf.firma.com.tr -all")
    assert (set(signals.undecided), signals.is_complete) == (silent if is_waited_for else set(), not is_waited_for)


def test_the_answer_at_one_of_microsofts_selectors_tells_of_the_other() -> None:
    assert judged(GATEWAY, {"dkim:selector2": SILENCE}).undecided == ()
    both = {"dkim:selector1": SILENCE, "dkim:selector2": SILENCE}
    assert set(judged(GATEWAY, both).undecided) == {"dkim:selector1", "dkim:selector2"}


@pytest.mark.parametrize(
    ("mx", "kind"),
    [
        ("10 mail.firma.com.tr", "own"),
        ("10 firma.com.tr", "own"),
        ("10 192.0.2.1", "own"),
        ("10 mx.veri-merkezi.example", "unlisted"),
        ("10 mail.notfirma.com.tr", "unlisted"),
    ],
)
def test_a_mail_host_is_the_companys_own_only_under_its_own_domain(mx: str, kind: str) -> None:
    signals = judged(mx)
    assert (signals.provider, signals.local_host) == (Provider.LOCAL, kind)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (found("192.0.2.1"), (Provider.LOCAL, "implicit", None, True)),
        (NOTHING, (Provider.UNKNOWN, None, "nodata", True)),
        (SILENCE, (Provider.UNKNOWN, None, None, False)),
    ],
)
def test_without_an_mx_record_the_domains_own_address_takes_the_mail(
    address: Lookup, expected: tuple[Provider, str | None, str | None, bool]
) -> None:
    signals = judged(Lookup(Outcome.NODATA, answered_at=NOW), {"address": address})
    assert (signals.provider, signals.local_host, signals.no_mx_reason, signals.is_complete) == expected
