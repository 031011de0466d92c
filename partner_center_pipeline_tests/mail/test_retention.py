"""What stays after a scan, and when to ask again."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.mail import Lookup, MailSignals
from partner_center_pipeline.mail.classification import conclude
from partner_center_pipeline.mail.retention import keep_facts, next_scan_after
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.mail.tenant import with_tenant
from partner_center_pipeline.vocabulary import Provider

THEN = datetime(2026, 4, 1, tzinfo=UTC)
NOW = THEN + timedelta(days=7)
GATEWAY = "10 mx1-eu1.ppe-hosted.com"
DKIM_M365 = "selector1-firma-com-tr._domainkey.firmaas.onmicrosoft.com"
NO_FACTS = st.sampled_from([outcome for outcome in Outcome if not outcome.is_fact])


def missed(outcome: Outcome = Outcome.TIMEOUT) -> Lookup:
    return Lookup(outcome, missed=outcome)


def found(*records: str, at: datetime = THEN, targets: tuple[str, ...] = ()) -> Lookup:
    return Lookup(Outcome.FOUND, records, targets, at)


def nothing(at: datetime = THEN) -> Lookup:
    return Lookup(Outcome.NXDOMAIN, answered_at=at)


def scanned(at: datetime = THEN, /, **lookups: Lookup) -> MailSignals:
    names = ("mx", "txt", "dmarc", "dkim:selector1", "autodiscover", "ns")
    return conclude("firma.com.tr", dict.fromkeys(names, nothing(at)) | lookups, at)


def silent(outcome: Outcome = Outcome.TIMEOUT) -> MailSignals:
    names = ("mx", "txt", "dmarc", "dkim:selector1", "autodiscover", "ns")
    return conclude("firma.com.tr", dict.fromkeys(names, missed(outcome)), NOW)


BEFORE = scanned(
    mx=found(GATEWAY),
    txt=found("v=spf1 include:spf.firma.com.tr -all"),
    dmarc=found("v=DMARC1; p=reject"),
    spf_nested=found("spf.protection.outlook.com"),
    autodiscover=found("autodiscover.outlook.com"),
    **{"dkim:selector1": found("v=DKIM1; p=A", targets=(DKIM_M365,))},
)


def test_the_first_scan_is_kept_as_it_is() -> None:
    assert keep_facts(None, BEFORE) is BEFORE


@given(NO_FACTS)
def test_a_scan_without_any_fact_changes_nothing_but_what_was_missed(outcome: Outcome) -> None:
    kept = keep_facts(BEFORE, silent(outcome))
    assert kept.missed == dict.fromkeys(("mx", "txt", "dmarc", "dkim:selector1", "autodiscover", "ns"), outcome)
    assert (kept.scanned_at, kept.facts_from) == (NOW, THEN)
    unmissed = {name: replace(lookup, missed=None) for name, lookup in kept.lookups.items()}
    assert replace(kept, scanned_at=THEN, lookups=unmissed) == BEFORE


def test_new_facts_replace_old_ones_also_when_they_are_worse() -> None:
    kept = keep_facts(BEFORE, scanned(NOW))
    assert (kept.provider, kept.spf.present, kept.dmarc_policy) == (Provider.UNKNOWN, False, None)
    assert (kept.no_mx_reason, kept.facts_from) == ("nxdomain", NOW)


HINTS = {"dkim:selector1", "autodiscover"}
"""The look-ups whose answers name the mailbox of BEFORE."""


@given(st.sets(st.sampled_from(["mx", "txt", "dmarc", "dkim:selector1", "autodiscover", "ns"]), min_size=1), NO_FACTS)
def test_a_known_provider_stays_as_long_as_an_answer_that_names_it_is_only_missed(
    silenced: set[str], outcome: Outcome
) -> None:
    today = dict.fromkeys(silenced, missed(outcome))
    rest = {"mx": found(GATEWAY, at=NOW)} if "mx" not in silenced else {}
    kept = keep_facts(BEFORE, scanned(NOW, **rest, **today))
    assert kept.provider is (Provider.M365 if silenced & HINTS else Provider.UNKNOWN)


def test_a_provider_whose_mx_has_moved_is_not_kept_by_one_selector_without_an_answer() -> None:
    google = scanned(
        mx=found("1 aspmx.l.google.com"), txt=found("v=spf1 include:_spf.google.com -all"), dmarc=found("v=DMARC1")
    )
    known, day = google, THEN
    for _ in range(180):
        day += timedelta(days=1)
        moved = scanned(day, mx=found("10 mail.firma.com.tr", at=day), **{"dkim:k1": missed(Outcome.SERVFAIL)})
        known = keep_facts(known, moved)
        assert (known.provider, "aspmx" in str(known.evidence)) == (Provider.LOCAL, False)


def test_what_named_the_mailbox_behind_the_old_mx_does_not_name_it_behind_the_new_one() -> None:
    silent_hints = {"autodiscover": missed(), "dkim:selector1": missed(Outcome.SERVFAIL)}
    kept = keep_facts(BEFORE, scanned(NOW, mx=found("10 mx1.hornetsecurity.com", at=NOW), **silent_hints))
    assert (kept.provider, kept.gateway, kept.is_complete) == (Provider.UNKNOWN, "Hornetsecurity", False)
    assert kept.tenant == "firmaas"
    same = keep_facts(BEFORE, scanned(NOW, mx=found(GATEWAY, at=NOW), **silent_hints))
    assert (same.provider, same.is_complete) == (Provider.M365, True)


def test_a_company_whose_mx_has_moved_waits_for_the_spf_record_of_today() -> None:
    m365 = found("v=spf1 include:spf.protection.outlook.com -all")
    confirmed = {"enterpriseregistration": found("enterpriseregistration.windows.net")}
    then = scanned(mx=found(GATEWAY), txt=m365, **confirmed)
    assert (then.provider, then.is_complete) == (Provider.M365, True)
    known, day = then, THEN
    waited = []
    for _ in range(4):
        day += timedelta(days=1)
        mx = found("10 mx1.hornetsecurity.com", at=day)
        known = keep_facts(known, scanned(day, mx=mx, txt=missed(Outcome.SERVFAIL), **confirmed))
        waited.append((known.provider, known.undecided, known.unanswered, known.spf == then.spf))
    assert waited[:3] == [(Provider.UNKNOWN, ("txt",), (), True)] * 3
    assert waited[3] == (Provider.UNKNOWN, (), ("txt",), True)
    answered = keep_facts(known, scanned(day, mx=mx, txt=replace(m365, answered_at=day), **confirmed))
    assert (answered.provider, answered.is_complete) == (Provider.M365, True)


def test_a_company_whose_other_records_moved_waits_for_the_mx_that_did_not_answer() -> None:
    known = keep_facts(BEFORE, scanned(NOW, mx=missed()))
    assert (known.provider, known.undecided) == (Provider.UNKNOWN, ("mx",))
    assert keep_facts(known, scanned(NOW, mx=missed())) == known
    answered = keep_facts(known, scanned(NOW, mx=found("1 aspmx.l.google.com", at=NOW)))
    assert (answered.provider, answered.is_complete) == (Provider.GOOGLE, True)


def test_a_company_stays_as_it_is_where_the_mx_does_not_answer_and_nothing_else_has_changed() -> None:
    unnamed = scanned(mx=found(GATEWAY))
    assert (unnamed.provider, unnamed.is_complete) == (Provider.UNKNOWN, True)
    asked_in_doubt = {"dkim:google": missed(), "autodiscover_srv": missed()}
    kept = keep_facts(unnamed, scanned(NOW, mx=missed(), **asked_in_doubt))
    assert (kept.provider, kept.is_complete, kept.dkim_present) == (Provider.UNKNOWN, True, unnamed.dkim_present)


def test_an_answer_that_is_missed_for_a_month_names_nobody_any_more() -> None:
    known, day, providers = BEFORE, THEN, []
    for _ in range(33):
        day += timedelta(days=1)
        mx = found(GATEWAY, at=day)
        known = keep_facts(
            known, scanned(day, mx=mx, **{"dkim:selector1": missed(), "autodiscover": missed(Outcome.SERVFAIL)})
        )
        providers.append(known.provider)
    assert providers == [Provider.M365] * 31 + [Provider.UNKNOWN] * 2
    assert known.unanswered == ("autodiscover", "dkim:selector1")


def test_a_company_waits_three_days_for_what_could_name_its_mailbox_then_says_what_is_missing() -> None:
    silent_hints = {"autodiscover": missed(Outcome.SERVFAIL), "dkim:selector1": missed()}

    def scan_of(hours: int) -> MailSignals:
        at = THEN + timedelta(hours=hours)
        return scanned(at, mx=found(GATEWAY, at=at), **silent_hints)

    known = keep_facts(None, scan_of(0))
    waited = []
    for hours in (1, 24, 71, 72, 100):
        known = keep_facts(known, scan_of(hours))
        waited.append((hours, known.is_complete, known.undecided, known.unanswered, known.notes))
    missing = ("autodiscover", "dkim:selector1")
    assert waited == [
        *((hours, False, missing, (), ()) for hours in (1, 24, 71)),
        *((hours, True, (), missing, ("mailbox_unanswered",)) for hours in (72, 100)),
    ]
    answered = keep_facts(known, scanned(NOW, mx=found(GATEWAY, at=NOW)))
    assert (answered.is_complete, answered.unanswered, answered.notes) == (True, (), ())


def test_a_domain_that_in_fact_has_no_mail_host_loses_its_provider() -> None:
    kept = keep_facts(BEFORE, scanned(NOW, mx=nothing(NOW), autodiscover=missed()))
    assert (kept.no_mx, kept.provider) == (True, Provider.UNKNOWN)


def test_a_nested_answer_is_kept_only_for_the_spf_record_it_belongs_to() -> None:
    same = scanned(NOW, mx=found(GATEWAY, at=NOW), txt=BEFORE.lookups["txt"], spf_nested=missed(Outcome.SERVFAIL))
    assert keep_facts(BEFORE, same).lookups["spf_nested"].records == ("spf.protection.outlook.com",)
    other = scanned(
        NOW, mx=found(GATEWAY, at=NOW), txt=found("v=spf1 include:new.example -all", at=NOW), spf_nested=missed()
    )
    assert keep_facts(BEFORE, other).lookups["spf_nested"].records == ()


def test_tenant_evidence_is_never_erased() -> None:
    kept = keep_facts(BEFORE, scanned(NOW))
    assert (kept.tenant, kept.tenant_source) == ("firmaas", "dkim_target")
    assert keep_facts(kept, silent()).tenant == "firmaas"


def test_a_newer_dkim_target_replaces_an_older_one() -> None:
    target = DKIM_M365.replace("firmaas", "yenifirma")
    kept = keep_facts(BEFORE, scanned(NOW, **{"dkim:selector1": found("v=DKIM1; p=A", targets=(target,), at=NOW)}))
    assert kept.tenant == "yenifirma"


def test_a_dkim_target_goes_before_openid_metadata() -> None:
    id_ = "00000000-0000-0000-0000-000000000001"
    only_id = with_tenant(scanned(), found(id_))
    assert (only_id.tenant, only_id.tenant_source) == (id_, "oidc_metadata")
    assert with_tenant(BEFORE, found(id_)).tenant_source == "dkim_target"
    assert with_tenant(only_id, nothing(NOW)).tenant == id_
    assert keep_facts(only_id, scanned(NOW)).tenant == id_
    assert keep_facts(BEFORE, with_tenant(scanned(NOW), found(id_))).tenant_source == "dkim_target"


def test_after_facts_a_domain_waits_for_the_ttl_whatever_happened_before() -> None:
    assert next_scan_after(BEFORE, failures=0, ttl_hours=168) == 168 * 3600
    assert next_scan_after(BEFORE, failures=5, ttl_hours=168) == 168 * 3600


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 600), (1, 600), (2, 1200), (3, 2400), (8, 76_800), (9, 86_400), (10_000, 86_400)]
)
def test_the_wait_after_no_fact_is_ten_minutes_doubling_to_a_day(failures: int, seconds: int) -> None:
    assert next_scan_after(silent(), failures, ttl_hours=168) == seconds


def test_a_retry_is_never_later_than_the_ttl() -> None:
    assert next_scan_after(silent(), failures=9, ttl_hours=1) == 3600


def test_old_facts_do_not_end_the_retries() -> None:
    assert next_scan_after(keep_facts(BEFORE, silent()), failures=1, ttl_hours=168) == 600


@pytest.mark.parametrize("lookup", ["mx", "txt", "dmarc", "dmarc_above", "dkim:selector1", "autodiscover"])
def test_every_look_up_that_could_change_the_score_is_tried_again(lookup: str) -> None:
    today = scanned(**({"mx": found(GATEWAY)} | {lookup: missed()}))
    assert next_scan_after(today, failures=1, ttl_hours=168) == 600


def test_what_cannot_change_the_score_waits_for_the_ttl() -> None:
    m365 = found("10 firma-com-tr.mail.protection.outlook.com")
    key = found("v=DKIM1; p=A")
    today = scanned(mx=m365, autodiscover=missed(), ns=missed(), **{"dkim:selector1": key, "dkim:mail": missed()})
    assert next_scan_after(today, failures=1, ttl_hours=168) == 168 * 3600


FACTS = st.one_of(
    st.just(nothing(NOW)),
    st.builds(missed, NO_FACTS),
    st.builds(found, st.text(max_size=30), at=st.just(NOW), targets=st.sampled_from([(), (DKIM_M365,)])),
)
SCANS = st.builds(
    lambda others, mx: scanned(NOW, **others, mx=mx),
    st.dictionaries(st.sampled_from(["txt", "dmarc", "dkim:selector1", "autodiscover", "ns", "spf_nested"]), FACTS),
    st.sampled_from([nothing(NOW), missed(), found(GATEWAY, at=NOW), found("10 mail.a.com", at=NOW)]),
)


@pytest.mark.slow
@given(SCANS, SCANS)
def test_keeping_is_idempotent_and_loses_no_fact_of_the_same_mx_and_no_tenant(
    first: MailSignals, second: MailSignals
) -> None:
    kept = keep_facts(first, second)
    assert keep_facts(kept, second) == kept
    has_moved = second.lookups["mx"].is_fact and first.lookups["mx"].records != second.lookups["mx"].records
    for name in ("mx", "txt", "dmarc", "dkim:selector1", "autodiscover", "ns"):
        of_first = first.lookups[name].is_fact and (name in ("mx", "txt", "dmarc") or not has_moved)
        if of_first or second.lookups[name].is_fact:
            assert kept.lookups[name].is_fact
    if first.tenant or second.tenant:
        assert kept.tenant


@pytest.mark.slow
@given(SCANS)
def test_a_row_is_plain_json_and_comes_back_as_the_same_signals(signals: MailSignals) -> None:
    row = json.loads(json.dumps(signals.to_row()))
    assert MailSignals.from_row(row) == signals
    assert (row["no_mx"], row["is_complete"], row["domain"]) == (signals.no_mx, signals.is_complete, "firma.com.tr")


def test_a_missing_answer_about_the_domains_own_address_is_asked_for_again_soon() -> None:
    no_mx = Lookup(Outcome.NODATA, answered_at=THEN)
    waiting = scanned(mx=no_mx, address=missed(Outcome.SERVFAIL))
    assert (waiting.no_mx, waiting.is_complete, waiting.undecided) == (False, False, ("address",))
    assert next_scan_after(waiting, failures=1, ttl_hours=168) == 600


def test_a_company_that_waits_for_an_answer_is_asked_about_again_soon() -> None:
    waiting = scanned(
        mx=found(GATEWAY),
        txt=found("v=spf1 include:spf.protection.outlook.com -all"),
        lyncdiscover=missed(),
    )
    assert waiting.undecided == ("lyncdiscover",)
    assert next_scan_after(waiting, failures=1, ttl_hours=168) == 600
