"""`partner-center inspect`: everything known about a domain, for people and as JSON; no contact, no question to DNS."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from rich.console import Console
from sqlalchemy import insert

from partner_center_pipeline.cli import inspect_page
from partner_center_pipeline.leads.company import company_of
from partner_center_pipeline.mail import MailSignals, scan
from partner_center_pipeline.scoring import load_rules
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.texts import Texts
from partner_center_pipeline.vocabulary import Asset
from partner_center_pipeline.warehouse import companies, first_page, leads, schema
from partner_center_pipeline.warehouse.bulk import insert_new
from partner_center_pipeline.warehouse.card import Card, look_up
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.warehouse.row_counts import row_counts
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.defs.conftest import instance, project
from partner_center_pipeline_tests.defs.project import Project
from partner_center_pipeline_tests.warehouse.test_card import WINDOW, fetched
from partner_center_pipeline_tests.warehouse.test_leads import lead_row
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import DnsFault
from partner_center_simulator.zone import Zone

__all__ = ["instance", "project"]  # fixtures

NOW: Final = datetime.now(UTC)
FIRST, LATER = NOW - timedelta(days=3), NOW - timedelta(hours=2)

OZTURK: Final = "xn--ztrk-4qa2b.com.tr"
PENDING: Final = "pending.com.tr"
EVIL: Final = "evil.com.tr"
LONG_KEY: Final = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A" * 11
STEERING: Final = "[red]\x1b[2J\x9b31m\u202e"
PERSON: Final = {"firstName": "Deniz", "lastName": "Örnek", "phoneNumber": "+90 555 000 00 00"}

RECORDS: Final[Mapping[str, Mapping[str, Any]]] = {
    OZTURK: {
        "MX": [(1, "aspmx.l.google.com"), (5, "mail.elsewhere.example")],
        "TXT": ["v=spf1 include:_spf.google.com ~all", "google-site-verification=abc", "MS=ms12345678"],
        "NS": ["ns1.example.net"],
    },
    f"google._domainkey.{OZTURK}": {"TXT": LONG_KEY},
    f"_dmarc.{OZTURK}": {"TXT": "v=DMARC1; p=none"},
    EVIL: {"MX": [(10, "mail.evil.com.tr")], "TXT": ["v=spf1 -all", f"verification={STEERING}"]},
}


@pytest.fixture(scope="module")
def heard() -> dict[datetime, list[MailSignals]]:
    """What a real DNS server said about three domains on two days. The second time one has a stricter DMARC record, and
    a selector of it does not answer; another never answers."""
    zone = Zone.from_records(RECORDS, dict.fromkeys((PENDING, f"_dmarc.{PENDING}"), DnsFault.SERVFAIL))

    def ask(server: DnsServer, when: datetime) -> list[MailSignals]:
        answers = scan(
            [OZTURK, PENDING, EVIL],
            resolvers=[server.address],
            selectors=["google", "selector1"],
            clock=lambda: when,
        )
        return sorted(answers, key=lambda one: one.domain)

    with DnsServer(zone) as server:
        first = ask(server, FIRST)
        zone.add({f"_dmarc.{OZTURK}": {"TXT": "v=DMARC1; p=reject; sp=none"}})
        zone.set_fault(f"google._domainkey.{OZTURK}", DnsFault.SERVFAIL)
        return {FIRST: first, LATER: ask(server, LATER)}


@dataclass
class Filled:
    """A warehouse with companies in it, and the command on it."""

    home: Home
    warehouse: Warehouse

    def shown(self, *arguments: str) -> str:
        """What the card says, without the blanks at the end of lines."""
        done = self.home.invoke("inspect", *arguments)
        assert done.exit_code == 0, done.output
        return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())

    def document(self, *arguments: str) -> dict[str, Any]:
        """The JSON document."""
        document: dict[str, Any] = json.loads(self.shown("--json", *arguments))
        return document

    def refused(self, *arguments: str) -> str:
        """Why there is no card."""
        done = self.home.invoke("inspect", *arguments)
        assert (done.exit_code, done.stdout) == (1, "")
        return done.stderr

    def card(self, domain: str) -> Card:
        """The rows behind the card."""
        with self.warehouse.read() as connection:
            found = look_up(connection, domain, domain)
        assert isinstance(found, Card)
        return found


@pytest.fixture
def empty(home: Path, warehouse: Warehouse) -> Filled:
    place = Home(home)
    place.edit_env(HUNTER_DATABASE_URL=warehouse.url)
    return Filled(place, warehouse)


@pytest.fixture
def filled(empty: Filled, heard: Mapping[datetime, list[MailSignals]]) -> Filled:
    """Three companies of real referrals, looked up and scored on two days."""
    from partner_center_pipeline.defs.enrichment import Scoring, keep

    with empty.warehouse.write() as connection:
        leads.write(
            connection,
            [
                referral(
                    "open-cosell",
                    "info@bilgi.öztürk.com.tr",
                    name="Öztürk Yazılım A.Ş.",
                    type="Shared",
                    status="Active",
                    substatus="Accepted",
                    expirationDateTime=f"{NOW + timedelta(days=5):%Y-%m-%d}T00:00:00Z",
                    details={"dealValue": 12500, "currency": "TRY", "notes": "call Deniz"},
                ),
                referral("closed", "info@öztürk.com.tr", ticks=1, status="Closed", substatus="Lost"),
                referral("of-pending", f"info@{PENDING}"),
                referral("of-evil", f"info@{EVIL}", name="[red]Kötü[/red] [link=http://x.example]A.Ş.[/link]"),
            ],
        )
        insert_new(connection, schema.raw_referrals, [fetched("open-cosell"), fetched("of-pending")])
        made = leads.of_domains(connection, [OZTURK, PENDING, EVIL])
        companies.write(connection, [company_of(domain, of_it) for domain, of_it in made.items()])
    for when, answers in heard.items():
        with empty.warehouse.write() as connection:
            keep(connection, answers, 168)
            Scoring(Settings.load(), when).score(connection, [OZTURK, PENDING, EVIL])
    return empty


def referral(referral_id: str, email: str, *, ticks: int = 2, name: str = "Firma", **payload: Any) -> dict[str, Any]:
    address = {"city": "İstanbul", "country": "TR"}
    profile = {"name": name, "address": address, "team": [{**PERSON, "email": email}]}
    return lead_row(referral_id, ticks, name="Deniz asks", customerProfile=profile, **payload)


TERMS: Final = (
    "autodiscover cname srv tcp dkim dmarc dns enterpriseregistration include lyncdiscover none nodata nxdomain "
    "referral reject segment selector servfail spf txt utc"
)
NAMES: Final = "firma google microsoft rescan stanbul sync try workspace"
RECORDS_AND_IDS: Final = "protonmail zmail zoho abc all closed http red rsa verification"
SAME_IN_BOTH: Final = frozenset(f"{TERMS} {NAMES} {RECORDS_AND_IDS}".split())
"""Words that the card in both languages may hold."""


def words(shown: str) -> set[str]:
    """The words of letters that are English ones too."""
    return set(re.findall(r"(?<![\w.@/-])[a-z]{3,}(?![\w.@/=-])", shown.lower()))


def squeezed(text: str) -> str:
    """Without white space: a folded text in one piece."""
    return "".join(text.split())


def spoken(reason: Mapping[str, Any], language: str) -> str:
    """A reason with its points and what was seen, without white space; a deadline as people write it."""
    points = f"{reason['points']:+}" if reason["points"] else ""
    evidence = reason["evidence"] or ""
    if reason["code"] in ("response_due", "response_was_due"):
        evidence = Texts(language).instant(datetime.fromisoformat(evidence))
    return squeezed(points + load_rules().text(reason["code"], language) + evidence)


class TestReading:
    """Whatever a person pastes is read by the rule that reads referrals."""

    @pytest.mark.parametrize(
        "pasted",
        ["https://www.öztürk.com.tr/iletişim?dil=tr#harita", "ÖZTÜRK.COM.TR", "deniz@posta.öztürk.com.tr"],
        ids=["url", "capitals", "email"],
    )
    def test_what_it_was_read_as_is_said_where_it_differs(self, pasted: str, filled: Filled) -> None:
        shown = filled.shown(pasted)
        assert shown.startswith("Read as öztürk.com.tr\n")
        assert "deniz@" not in shown

    @pytest.mark.parametrize("pasted", ["öztürk.com.tr", OZTURK], ids=["unicode", "punycode"])
    def test_the_domain_itself_needs_no_such_line(self, pasted: str, filled: Filled) -> None:
        assert filled.shown(pasted).startswith(f"Öztürk Yazılım A.Ş.  öztürk.com.tr  {OZTURK}\n")

    @pytest.mark.parametrize("pasted", ["-", "com.tr", "192.0.2.1", "firma.onmicrosoft.com", "facebook.com/firma"])
    def test_what_is_no_domain_of_a_company_is_refused_with_an_example(self, pasted: str, empty: Filled) -> None:
        assert "give a host, a URL or an e-mail address, e.g. firma.com.tr" in empty.refused("--", pasted)

    def test_an_unknown_domain_is_refused_with_the_next_step(self, filled: Filled) -> None:
        output = filled.refused("nobody.com.tr")
        assert "no referral names nobody.com.tr" in output
        assert "a domain is looked up only because a referral named it" in output
        assert "partner-center sync" in output

    def test_a_domain_that_reads_alike_in_ascii_is_suggested(self, filled: Filled) -> None:
        assert f"did you mean öztürk.com.tr ({OZTURK})?" in filled.refused("www.ozturk.com.tr")

    def test_leads_whose_company_is_not_made_yet_are_reported(self, empty: Filled) -> None:
        with empty.warehouse.write() as connection:
            leads.write(connection, [referral("r1", "info@öztürk.com.tr")])
        output = empty.refused("öztürk.com.tr")
        assert f"1 referral names öztürk.com.tr ({OZTURK}), but its company is not made yet" in output
        assert "partner-center sync" in output


class TestCard:
    @pytest.mark.parametrize("language", ["en", "tr"])
    def test_every_reason_stands_there_with_its_points_and_what_was_seen(self, language: str, filled: Filled) -> None:
        listed = filled.card(OZTURK).listed
        assert listed is not None
        lines = [squeezed(line) for line in filled.shown("öztürk.com.tr", "--language", language).splitlines()]
        codes = {reason["code"] for reason in listed["reasons"]}
        assert {"provider_google", "dmarc_reject", "co_sell", "response_due"} <= codes
        for reason in listed["reasons"]:
            assert spoken(reason, language) in lines
        segment = f"segment{Texts(language).word('segment', 'Migration')}:"
        assert segment + squeezed(load_rules().text("ready_to_migrate", language)) in lines

    def test_the_company_and_its_place_in_the_sales_list_stand_first(self, filled: Filled) -> None:
        shown = filled.shown(OZTURK)
        with filled.warehouse.read() as connection:
            assert [row["domain"] for row in first_page.of_companies(connection, 3, only_open=True)] == [
                EVIL,
                OZTURK,
                PENDING,
            ]
        for expected in (
            r"place +İstanbul, Türkiye",
            r"referrals +1 open of 2, in 2 deals",
            r"co-sell +open, referral open-cosell",
            rf"answer by +{NOW + timedelta(days=5):%Y-%m-%d} 00:00 UTC \(in \d+ \w+\), referral open-cosell",
            r"largest deal +12,500.00 TRY",
            r"rank +2 of 3 in the sales list",
            r"category +P2 Competitive Takeover: discovery within 3 days",
            r"score +100, from a readiness of 90",
            r"commercial segment +COMPETITIVE",
            r"heat +technical Warm, commercial high",
            r"scored +.* UTC \(2 h ago\), under rules version 3",
        ):
            assert re.search(expected, shown), expected

    @pytest.mark.slow
    def test_in_turkish_no_word_of_the_card_stays_english(self, filled: Filled) -> None:
        for domain in (OZTURK, PENDING, EVIL):
            english, turkish = (filled.shown(domain, "--language", language) for language in ("en", "tr"))
            kept = words(english) & words(turkish)
            assert kept - SAME_IN_BOTH == set(), domain

    def test_in_turkish_dates_amounts_and_countries_are_written_as_there(self, filled: Filled) -> None:
        shown = filled.shown(OZTURK, "--language", "tr")
        due = f"{NOW + timedelta(days=5):%d.%m.%Y}"
        for expected in (
            rf"son yanıt tarihi +{due} 00:00 UTC \(\d+ \w+ sonra\), referans open-cosell",
            r"yer +İstanbul, Türkiye",
            r"en büyük anlaşma +12\.500,00 TRY",
            r"sıra +3 şirketlik satış listesinde 2\. sırada",
            r"kategori +P2 Rakipten Geçiş: 3 gün içinde keşif görüşmesi",
            r"\nReferanslar\n",
            r"ortak satış fırsatı +açık, referans open-cosell",
            rf"{LATER:%d.%m.%Y %H:%M} UTC +e-posta yapısı değişti +Geçiş 75 -> Geçiş 100",
        ):
            assert re.search(expected, shown), expected

    def test_a_deadline_that_passed_is_shown_as_passed(self, filled: Filled) -> None:
        passed = NOW - timedelta(days=2)
        with filled.warehouse.write() as connection:
            due: dict[str, Any] = {"expirationDateTime": f"{passed:%Y-%m-%d}T00:00:00Z", "status": "New"}
            leads.write(connection, [referral("of-evil", f"info@{EVIL}", ticks=9, **due)])
        day = f"{passed:%Y-%m-%d} 00:00 UTC"
        shown = filled.shown(EVIL)
        assert re.search(rf"answer by +was due on {day} \(\d+ \w+ ago\), referral of-evil", shown)
        assert re.search(rf"The answer to the open referral was due on +{day}", shown)
        turkish = filled.shown(EVIL, "--language", "tr")
        assert re.search(rf"yanıt süresi doldu; son yanıt tarihi +{passed:%d.%m.%Y} 00:00 UTC", turkish)

    def test_the_mail_set_up_stands_there_as_read_with_its_notes_in_words(self, filled: Filled) -> None:
        shown = filled.shown(OZTURK)
        for expected in (
            r"provider +Google, Google Workspace",
            r"confidence +95 of 100",
            r"SPF +v=spf1 include:_spf.google.com ~all",
            r"DKIM +a key at google",
            r"DMARC +v=DMARC1; p=reject; sp=none\n +policy reject",
            r"verifications +google-site-verification=abc",
            r"notes +a mail host further back belongs to somebody else\n +a MS= record: somebody once verified",
            r"asked +.*\(2 h ago\)",
            r"facts from +.*\(2 h ago\)",
            r"asked again +.*\(in 6 days\)",
            r"mx +aspmx.l.google.com +Google\n",
        ):
            assert re.search(expected, shown), expected

    def test_each_look_up_has_its_outcome_its_age_and_its_answer_in_the_order_of_asking(self, filled: Filled) -> None:
        asked = filled.shown(OZTURK).partition("Asked and answered")[2]
        expected = (
            r"MX +found +2 h ago +1 aspmx.l.google.com\n +5 mail.elsewhere.example\n",
            r"TXT +found +2 h ago +v=spf1 include:_spf.google.com ~all\n +google-site-verification=abc\n",
            r"TXT _dmarc +found +2 h ago +v=DMARC1; p=reject; sp=none\n",
            r"TXT google\._domainkey +found +3 days ago +v=DKIM1; k=rsa;\n +last try: servfail +p=MII",
            r"TXT selector1\._domainkey +nxdomain +2 h ago",
            r"CNAME autodiscover +nxdomain",
            r"NS +found +2 h ago +ns1.example.net",
        )
        found = [re.search(rf"^ +{each}", asked, re.MULTILINE) for each in expected]
        assert all(found), expected[found.index(None)]
        starts = [one.start() for one in found if one]
        assert starts == sorted(starts)

    def test_referrals_say_what_they_are_and_which_field_gave_the_domain(self, filled: Filled) -> None:
        output = " ".join(filled.shown(OZTURK).partition("\nReferrals\n")[2].split())
        deadline = f"{NOW + timedelta(days=5):%Y-%m-%d} 00:00 UTC"
        assert re.match(
            r"open-cosell co-sell \(shared\), Active/Accepted, open "
            rf"12,500.00 TRY, answer by {deadline} "
            r"domain from customerProfile.team\[0\].email \(bilgi.xn--ztrk-4qa2b.com.tr\) "
            r"updated 1970-01-01 00:00 UTC \(\d+ days ago\), in window 2026-03-01-11:50 "
            r"closed unknown \(no_rule\), Closed/Lost, closed "
            r"domain from customerProfile.team\[0\].email updated 1970",
            output,
        )

    def test_history_lists_each_change_with_cause_and_differing_inputs_newest_first(self, filled: Filled) -> None:
        output = filled.shown(OZTURK).partition("\nChanges of the score\n")[2]
        scores, _, set_ups = output.partition("\nChanges of the mail set-up\n")
        assert re.search(
            rf"{LATER:%Y-%m-%d %H:%M} UTC +the mail set-up changed +Migration 75 -> Migration 100\n"
            r" +dmarc_policy: none -> reject\n"
            rf" +{FIRST:%Y-%m-%d %H:%M} UTC +first score +Migration 75\n",
            scores,
        )
        assert re.search(rf"{LATER:%Y-%m-%d %H:%M} UTC +Google\n +dmarc.policy: none -> reject\n", set_ups)
        assert "dmarc.sp: absent -> none" in set_ups
        assert re.search(rf"{FIRST:%Y-%m-%d %H:%M} UTC +first answer: Google\n", set_ups)

    def test_suggested_matches_name_the_other_company(self, filled: Filled) -> None:
        with filled.warehouse.write() as connection:
            pair = {"kind": "company", "subject": EVIL, "domain": OZTURK, "reason": "similar_name", "similarity": 88}
            connection.execute(insert(schema.suggested_matches).values(**pair, suggested_at=NOW))
        output = filled.shown(OZTURK).partition("Perhaps the same company")[2]
        assert re.match(r"\n +company evil.com.tr +\[red\]Kötü.* a similar name, 88 of 100\n", output)

    def test_a_tenant_says_where_it_was_read(self, empty: Filled) -> None:
        with empty.warehouse.write() as connection:
            tenant: dict[str, Any] = {"azureTenantId": "3f2504e0-4f89-11d3-9a0c-0305e82c3301"}
            leads.write(connection, [referral("r1", "info@öztürk.com.tr", **tenant)])
            companies.write(connection, [company_of(OZTURK, leads.of_domains(connection, [OZTURK])[OZTURK])])
        output = r"Microsoft tenant +3f2504e0-4f89-11d3-9a0c-0305e82c3301, from a field of a referral\n"
        assert re.search(output, empty.shown(OZTURK))

    def test_a_company_that_no_referral_names_any_more_says_so(self, filled: Filled) -> None:
        with filled.warehouse.write() as connection:
            leads.write(connection, [referral("of-evil", "info@elsewhere.com.tr", ticks=3)])
            companies.write(connection, [company_of(EVIL, [])])
        shown = filled.shown(EVIL)
        assert re.search(r"referrals +none names it any more", shown)
        assert re.search(r"rank +not in the sales list", shown)


class TestNotKnownYet:
    def test_while_dns_does_not_answer_the_company_is_pending_and_nothing_is_made_up(self, filled: Filled) -> None:
        shown = filled.shown(PENDING)
        for expected in (
            r"segment +Pending: DNS has not answered yet",
            r"score +none",
            r"SPF +not known: no answer yet",
            r"DMARC +not known: no answer yet",
            r"facts from +MX, TXT and _dmarc are not all known",
            r"asked again +due since .* \(\d h ago\)\n +next step: `partner-center rescan`",
            r"failures +2 in a row missed an answer",
            r"MX +servfail +never answered",
        ):
            assert re.search(expected, shown), expected
        assert "category" not in shown

    def test_a_company_without_score_and_signals_names_the_window_that_is_not_through(self, empty: Filled) -> None:
        with empty.warehouse.write() as connection:
            leads.write(connection, [referral("r1", "info@öztürk.com.tr")])
            insert_new(connection, schema.raw_referrals, [fetched("r1")])
            companies.write(connection, [company_of(OZTURK, leads.of_domains(connection, [OZTURK])[OZTURK])])
        shown = empty.shown(OZTURK)
        step = r"\n +next step: `partner-center sync`"
        assert re.search(rf"none yet +window 2026-03-01-11:50 has not come through scored_segments{step}", shown)
        assert re.search(rf"not asked yet +window 2026-03-01-11:50 has not come through domain_signals{step}", shown)
        document = empty.document(OZTURK)
        # An open lead of a company that has no score yet is in the sales list, at its end.
        assert (document["score"], document["mail"], document["sales"]) == (None, None, {"rank": 1, "of": 1})
        assert document["waiting"] == [{"window": "2026-03-01-11:50", "asset": "raw_referrals"}]

    def test_when_all_windows_are_done_but_no_score_exists_the_window_to_rerun_is_named(self, empty: Filled) -> None:
        through = {f"{asset}_at": NOW for asset in Asset}
        with empty.warehouse.write() as connection:
            leads.write(connection, [referral("r1", "info@öztürk.com.tr")])
            insert_new(connection, schema.raw_referrals, [fetched("r1")])
            companies.write(connection, [company_of(OZTURK, leads.of_domains(connection, [OZTURK])[OZTURK])])
            window = {"window_start": WINDOW, "window_end": WINDOW + 1, "covers_from": WINDOW}
            connection.execute(insert(schema.sync_windows).values(**window, **through))
        shown = empty.shown(OZTURK)
        assert "partner-center sync --from 2026-03-01T11:50Z --to 2026-03-01T11:51Z" in shown
        assert "Not through yet" not in shown


class TestOutside:
    """What comes from outside cannot steer the terminal, and is never cut off."""

    def test_markup_in_a_name_is_shown_as_it_is(self, filled: Filled) -> None:
        assert filled.shown(EVIL).startswith("[red]Kötü[/red] [link=http://x.example]A.Ş.[/link]  evil.com.tr\n")

    def test_characters_that_steer_a_terminal_are_written_out(self, filled: Filled) -> None:
        shown = filled.shown(EVIL)
        assert r"verification=[red]\x1b[2J" in shown
        assert not [one for one in shown if not one.isprintable() and one != "\n"]

    def test_what_is_longer_than_the_terminal_folds_and_no_letter_is_lost(self, filled: Filled) -> None:
        card = filled.card(OZTURK)
        assert card.signals is not None
        whole = inspect_page.page(card, MailSignals.from_row(card.signals["signals"]), str, Texts("en"), NOW, 140)

        def printed(width: int) -> str:
            terminal = Console(file=StringIO(), width=width)
            with terminal.capture() as captured:
                terminal.print(whole)
            return captured.get()

        wide = printed(1000)
        assert LONG_KEY in wide
        for width in (40, 80, 140):
            assert max(map(len, printed(width).splitlines())) <= width
            assert Counter(squeezed(printed(width))) == Counter(squeezed(wide))

    def test_no_contact_and_no_free_text_is_shown(self, filled: Filled) -> None:
        output = filled.shown(OZTURK) + json.dumps(filled.document(OZTURK), ensure_ascii=False)
        for private in (*PERSON.values(), "info@", "Deniz asks", "call Deniz"):
            assert private not in output


class TestDocument:
    def test_it_holds_what_the_card_shows_under_stable_names(self, filled: Filled) -> None:
        document = filled.document("https://öztürk.com.tr/", "--language", "tr")
        assert list(document) == [
            "domain", "domain_unicode", "language", "company", "sales", "score", "mail", "referrals",
            "suggested_matches", "decisions", "score_changes", "signal_changes", "waiting",
        ]  # fmt: skip
        assert (document["domain"], document["domain_unicode"]) == (OZTURK, "öztürk.com.tr")
        company, score, mail = document["company"], document["score"], document["mail"]
        assert (company["name"], company["deal_value"], company["currency"]) == ("Öztürk Yazılım A.Ş.", 12500, "TRY")
        assert company["response_due"] == f"{NOW + timedelta(days=5):%Y-%m-%d}T00:00:00Z"
        assert document["sales"] == {"rank": 2, "of": 3}
        assert (score["segment"], score["score"], score["readiness"]) == ("Migration", 100, 90)
        assert score["segment_reason_text"] == load_rules().text("ready_to_migrate", "tr")
        assert sum(reason["points"] for reason in score["reasons"]) == score["score"]
        for reason in score["reasons"]:
            assert reason["text"] == load_rules().text(reason["code"], "tr")
        assert {"code": "provider_google", "points": 50, "evidence": "aspmx.l.google.com"}.items() <= score["reasons"][
            0
        ].items()
        assert mail["lookups"]["dkim:google"]["missed"] == "servfail"
        assert mail["lookups"]["mx"]["records"] == ["1 aspmx.l.google.com", "5 mail.elsewhere.example"]
        assert (mail["provider"], mail["failures"], mail["notes"]) == ("Google", 0, ["mx_mixed_providers", "ms_txt"])
        assert mail["facts_from"] == LATER.isoformat().replace("+00:00", "Z")
        assert [row["referral_id"] for row in document["referrals"]] == ["open-cosell", "closed"]
        assert document["referrals"][0]["window"] == "2026-03-01-11:50"
        assert [row["cause"] for row in document["score_changes"]] == ["signals", "first"]
        assert document["signal_changes"][0]["detail"]["dmarc"]["after"]["policy"] == "reject"

    def test_it_is_one_document_with_nothing_beside_it(self, filled: Filled) -> None:
        done = filled.home.invoke("inspect", "--json", "www.öztürk.com.tr")
        assert json.loads(done.output)["domain"] == OZTURK


def test_the_rules_of_the_setting_give_the_words(filled: Filled) -> None:
    rules = (Path(inspect_page.__file__).parents[1] / "scoring" / "rules.toml").read_text(encoding="utf-8")
    own = filled.home.path / "own.toml"
    own.write_text(rules.replace("Mail runs on Google Workspace", "Mail at a rival's"), encoding="utf-8")
    filled.home.edit_env(HUNTER_SCORING_RULES="own.toml")
    assert "Mail at a rival's" in filled.shown(OZTURK)
    own.write_text("version = 1", encoding="utf-8")
    assert "own.toml" in filled.refused(OZTURK)


def test_a_code_that_a_newer_version_stored_stands_for_itself(filled: Filled) -> None:
    with filled.warehouse.write() as connection:
        later = [{"code": "better_than_ever", "points": 7, "evidence": None}]
        connection.execute(schema.company_scores.update().values(reasons=later, segment_reason="better_than_ever"))
    assert re.search(r"\+7 +better_than_ever", filled.shown(OZTURK))


def test_it_asks_no_dns_and_writes_nothing(filled: Filled) -> None:
    with DnsServer(Zone.from_records(RECORDS)) as server:
        filled.home.edit_env(HUNTER_DNS_RESOLVERS="{}:{}".format(*server.address))
        before = stored(filled.warehouse)
        filled.shown(OZTURK)
        filled.refused("nobody.com.tr")
        assert server.questions == 0
    assert stored(filled.warehouse) == before


def stored(warehouse: Warehouse) -> list[Any]:
    with warehouse.read() as connection:
        tables = (schema.companies, schema.company_scores, schema.domain_signals)
        rows = [tuple(map(tuple, connection.execute(table.select().order_by(table.c.domain)))) for table in tables]
        return [row_counts(connection), *map(str, rows)]


@pytest.mark.slow
def test_after_a_sync_the_best_lead_shows_the_reasons_of_its_score(project: Project) -> None:
    assert project.run(project.window(0)).success
    with project.warehouse.read() as connection:
        (best,) = first_page.of_companies(connection, 1, only_open=True)
    place = Home(project.home)
    document = json.loads(place.invoke("inspect", "--json", best["domain_unicode"]).stdout)
    assert (document["sales"]["rank"], document["score"]["score"]) == (best["rank"], best["score"])
    assert sum(reason["points"] for reason in document["score"]["reasons"]) == best["score"]
    assert document["waiting"] == []
    assert all(row["window"] == project.window(0).key for row in document["referrals"])
    shown = squeezed(place.invoke("inspect", best["domain_unicode"]).stdout)
    assert best["reasons"]
    for reason in best["reasons"]:
        assert spoken({**reason, "points": 0}, "en") in shown
    assert best["contact_email"] is None or best["contact_email"] not in shown


def test_the_card_shows_for_every_point_the_record_that_earned_it(filled: Filled) -> None:
    card = " ".join(filled.shown(OZTURK).split())
    score = filled.card(OZTURK).score
    assert score is not None
    behind = {
        "provider_google": "aspmx.l.google.com",
        "spf_present": "v=spf1 include:_spf.google.com ~all",
        "dkim_present": "google v=DKIM1; k=rsa",
        "dmarc_reject": "v=DMARC1; p=reject; sp=none",
        "co_sell": "open-cosell",
    }
    assert {reason["code"] for reason in score["reasons"] if reason["points"]} - {"score_limit"} == behind.keys()
    rules = load_rules().texts()
    for code, record in behind.items():
        assert f"{rules[code].en} {record}" in card, code


@pytest.mark.parametrize("language", ["en", "tr"])
def test_the_mail_hosts_that_nobody_in_the_table_owns_are_counted_by_suffix(empty: Filled, language: str) -> None:
    hosts = {
        "a.com.tr": "mx1.veri.example.com",
        "b.com.tr": "mx2.veri.example.com",
        "c.com.tr": "mail.baska.com.tr",
        "d.com.tr": "mail.d.com.tr",
        "e.com.tr": "aspmx.l.google.com",
    }
    assert "Suffix" not in empty.shown("--unlisted")
    _fill(empty, hosts)
    listed = json.loads(empty.shown("--unlisted", "--json"))
    assert [(one["suffix"], one["companies"], one["example"]) for one in listed] == [
        ("example.com", 2, "mx1.veri.example.com"),
        ("baska.com.tr", 1, "mail.baska.com.tr"),
    ]
    assert {one["first_seen"] for one in listed} == {FIRST.isoformat().replace("+00:00", "Z")}
    table = empty.shown("--unlisted", "--language", language)
    assert Texts(language)("unlisted.title") in " ".join(table.split())
    assert re.search(rf"example\.com\W+2\W+{FIRST:%Y-%m-%d}", table)
    assert "d.com.tr" not in table


def test_a_domain_and_the_list_of_unlisted_hosts_are_not_asked_for_together(empty: Filled) -> None:
    assert "--unlisted" in empty.refused("--unlisted", "a.com.tr")
    assert "--unlisted" in empty.refused()


def _fill(place: Filled, hosts: Mapping[str, str]) -> None:
    """Store companies of real referrals, with what a real DNS server said on two days."""
    from partner_center_pipeline.defs.enrichment import keep

    zone = Zone.from_records({domain: {"MX": [(10, host)], "TXT": ["v=spf1 -all"]} for domain, host in hosts.items()})
    with place.warehouse.write() as connection:
        leads.write(connection, [referral(f"of-{domain}", f"info@{domain}") for domain in hosts])
        made = leads.of_domains(connection, list(hosts))
        companies.write(connection, [company_of(domain, of_it) for domain, of_it in made.items()])
    with DnsServer(zone) as server:
        for when in (FIRST, LATER):
            answers = scan(hosts, resolvers=[server.address], selectors=["google"], clock=lambda at=when: at)  # type: ignore[misc]
            found = list(answers)
            with place.warehouse.write() as connection:
                keep(connection, found, 168)
