"""DNS that means harm, or is broken: on the wire, and over real sockets under the product's own scan.

The promises: nothing makes a scan raise or outlast its deadline; what is no honest answer is no fact; and a provider
that is known stays known, whatever a name server says instead of answering.
"""

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from dns.rdatatype import CNAME, MX, NS, TXT, RdataType
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from partner_center_pipeline.mail import MailSignals, scan
from partner_center_pipeline.mail.row import row_of
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.mail.wire import Question, decode_text, question, read_answer
from partner_center_pipeline.vocabulary import Provider
from partner_center_pipeline_tests.mail.hostile import (
    HEADER,
    HostileServer,
    Reply,
    Script,
    framed,
    harmless,
    is_made_up,
    spoiled,
    stream,
)
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.zone import Zone

pytestmark = pytest.mark.slow

NAME: Final = "firma.com.tr"
NOT_FACTS: Final = {outcome for outcome in Outcome if not outcome.is_fact}

# ---- on the wire


def _asked(rdtype: RdataType, name: str = NAME) -> Question:
    asked = question(name, rdtype)
    assert asked is not None
    return asked


HOSTS = st.from_regex(r"[a-z0-9]{1,12}(\.[a-z]{1,8}){0,2}\.example\.", fullmatch=True)
PIECES = st.lists(st.binary(max_size=255), min_size=1, max_size=4)
RDATA: Final[dict[RdataType, st.SearchStrategy[str]]] = {
    MX: st.builds("{} {}".format, st.integers(0, 65535), HOSTS),
    NS: HOSTS,
    CNAME: HOSTS,
    TXT: PIECES.map(lambda pieces: " ".join('"' + "".join(f"\\{byte:03d}" for byte in one) + '"' for one in pieces)),
}
SOA: Final = f"ns1.{NAME}. hostmaster.{NAME}. 1 7200 3600 1209600 300"


@st.composite
def answers(draw: st.DrawFn, *, bare: bool = False) -> tuple[Question, dns.message.Message]:
    """A question and an answer that dnspython wrote: found or not, with a chain of CNAMEs or without.

    `bare` leaves out what stands behind the answer section.
    """
    asked = _asked(draw(st.sampled_from(list(RDATA))))
    response = dns.message.make_response(
        dns.message.from_wire(asked.message(draw(st.integers(1, 65535)), edns=not bare))
    )
    owner = f"{NAME}."
    for target in draw(st.lists(HOSTS, max_size=3, unique=True)) if asked.rdtype != CNAME else ():
        response.answer.append(dns.rrset.from_text(owner, draw(st.integers(0, 2**31 - 1)), "IN", "CNAME", target))
        owner = target
    texts = draw(st.lists(RDATA[asked.rdtype], max_size=3, unique=True))
    if texts:
        response.answer.append(dns.rrset.from_text_list(owner, 300, "IN", asked.rdtype.name, texts))
    elif not bare:
        response.set_rcode(draw(st.sampled_from([dns.rcode.NOERROR, dns.rcode.NXDOMAIN])))
        response.authority.append(dns.rrset.from_text(f"{NAME}.", 900, "IN", "SOA", SOA))
    return asked, response


@given(answers())
def test_an_answer_that_ends_too_early_is_malformed_wherever_it_ends(
    made: tuple[Question, dns.message.Message],
) -> None:
    asked, message = made[0], made[1].to_wire()
    assert read_answer(message, asked).outcome.is_fact
    for end in range(len(message)):
        assert read_answer(message[:end], asked).outcome is Outcome.MALFORMED


@given(answers(), st.binary(min_size=1, max_size=20))
def test_bytes_behind_the_answer_make_it_malformed(made: tuple[Question, dns.message.Message], behind: bytes) -> None:
    asked, message = made[0], made[1].to_wire()
    assert read_answer(message + behind, asked).outcome is Outcome.MALFORMED


@given(answers(), st.sampled_from([4, 6, 8, 10]), st.integers(0, 65535))
def test_a_count_that_is_not_true_makes_an_answer_malformed(
    made: tuple[Question, dns.message.Message], at: int, count: int
) -> None:
    asked, message = made[0], made[1].to_wire()
    told = message[:at] + struct.pack("!H", count) + message[at + 2 :]
    assert read_answer(told, asked).outcome is (
        read_answer(message, asked).outcome if told == message else Outcome.MALFORMED
    )


@given(answers(), st.sampled_from([MX, TXT]), st.from_regex(r"[a-z]{1,9}\.com\.tr", fullmatch=True))
def test_an_answer_to_another_name_or_type_is_malformed(
    made: tuple[Question, dns.message.Message], rdtype: RdataType, name: str
) -> None:
    asked, message = made[0], made[1].to_wire()
    other = _asked(rdtype, name)
    assert read_answer(message, other).outcome is (
        Outcome.MALFORMED if other != asked else read_answer(message, asked).outcome
    )


@given(answers(bare=True), st.data())
def test_an_absence_is_believed_only_of_a_message_that_dnspython_accepts_too(
    made: tuple[Question, dns.message.Message], data: st.DataObject
) -> None:
    """The product reads messages itself; dnspython, which understands every byte, is the judge here."""
    asked, message = made[0], made[1].to_wire()
    damaged = bytearray(message)
    for at in data.draw(st.lists(st.integers(2, len(message) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    answer = read_answer(bytes(damaged), asked)
    if answer.outcome in (Outcome.NODATA, Outcome.NXDOMAIN):
        accepted = dns.message.from_wire(bytes(damaged))
        assert dns.message.from_wire(asked.message(accepted.id)).is_response(accepted)
        assert not accepted.flags & dns.flags.TC
        assert accepted.rcode() == (dns.rcode.NXDOMAIN if answer.outcome is Outcome.NXDOMAIN else dns.rcode.NOERROR)
        assert not [rrset for rrset in accepted.answer if rrset.rdtype == asked.rdtype]


@given(st.lists(PIECES, min_size=1, max_size=5))
def test_any_pieces_of_txt_are_joined_and_become_storable_text(texts: list[list[bytes]]) -> None:
    asked = _asked(TXT)
    records = b""
    for pieces in texts:
        rdata = b"".join(bytes([len(piece)]) + piece for piece in pieces)
        records += b"\xc0\x0c" + struct.pack("!HHIH", TXT, 1, 300, len(rdata)) + rdata
    message = struct.pack("!HHHHHH", 1, 0x8180, 1, len(texts), 0, 0) + asked.section + records
    answer = read_answer(message, asked)
    assert (answer.outcome, answer.records) == (Outcome.FOUND, tuple(decode_text(b"".join(one)) for one in texts))
    assert not any("\0" in text for text in answer.records)
    json.dumps(answer.records).encode("utf-8")


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4))
def test_a_ttl_beyond_what_dns_allows_is_zero_and_the_lowest_counts(ttls: list[int]) -> None:
    asked = _asked(TXT)
    records = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", TXT, 1, ttl, 2) + b"\x01x" for ttl in ttls)
    message = struct.pack("!HHHHHH", 1, 0x8180, 1, len(ttls), 0, 0) + asked.section + records
    assert read_answer(message, asked).ttl == min(ttl if ttl < 2**31 else 0 for ttl in ttls)


def _pointing(owner: bytes, target: bytes) -> tuple[Question, bytes]:
    """An answer of one CNAME, with these bytes as its names."""
    asked = _asked(TXT)
    record = owner + struct.pack("!HHIH", CNAME, 1, 300, len(target)) + target
    return asked, struct.pack("!HHHHHH", 1, 0x8180, 1, 1, 0, 0) + asked.section + record


OWNER_AT: Final = HEADER + len(_asked(TXT).section)
TARGET_AT: Final = OWNER_AT + 2 + 10


@pytest.mark.parametrize(
    "target",
    [
        struct.pack("!H", 0xC000 | TARGET_AT),
        b"\x01a" + struct.pack("!H", 0xC000 | TARGET_AT),
        struct.pack("!H", 0xC000 | TARGET_AT + 2),
        struct.pack("!H", 0xFFFF),
        b"\xc0",
        b"\x3f" + b"a" * 10,
        b"\x40a\x00",
        b"\x80a\x00",
        (b"\x3f" + b"a" * 63) * 4 + b"\x00",
        b"\x01a",
        b"",
    ],
    ids=[
        "itself", "a loop over a label", "forwards", "beyond the message", "half a pointer", "a label over the end",
        "an old label type", "an unknown label type", "257 bytes", "no end", "nothing",
    ],
)  # fmt: skip
def test_rubbish_in_a_compressed_name_is_malformed(target: bytes) -> None:
    asked, message = _pointing(b"\xc0\x0c", target)
    assert read_answer(message, asked).outcome is Outcome.MALFORMED


@given(st.integers(0, 0x3FFF), st.integers(0, 0x3FFF))
def test_a_pointer_anywhere_is_a_name_or_malformed(owner: int, target: int) -> None:
    asked, message = _pointing(struct.pack("!H", 0xC000 | owner), struct.pack("!H", 0xC000 | target))
    answer = read_answer(message, asked)
    assert answer.outcome in {Outcome.MALFORMED, Outcome.NODATA, Outcome.SERVFAIL}
    if owner >= len(message) or target >= len(message):
        assert answer.outcome is Outcome.MALFORMED


def test_a_message_full_of_chained_pointers_costs_no_time() -> None:
    """64 KiB in which every name is a pointer to a pointer to a pointer: reading them all would take minutes."""
    asked = _asked(TXT)
    first = OWNER_AT + 12
    chain = b"".join(struct.pack("!H", 0xC000 | (12 if at == first else at - 2)) for at in range(first, 0x3FFE, 2))
    records = b"\xc0\x0c" + struct.pack("!HHIH", 99, 1, 0, len(chain)) + chain
    count = 1
    for at in range(0x3FFC, first, -2):
        if OWNER_AT + len(records) + 12 > 65_535:
            break
        records += struct.pack("!H", 0xC000 | at) + struct.pack("!HHIH", 99, 1, 0, 0)
        count += 1
    message = struct.pack("!HHHHHH", 1, 0x8180, 1, count, 0, 0) + asked.section + records
    began = time.process_time()
    assert read_answer(message, asked).outcome is Outcome.MALFORMED
    assert time.process_time() - began < 0.5


# ---- over sockets

NOW: Final = datetime(2026, 4, 1, 12, tzinfo=UTC)
LATER: Final = NOW + timedelta(days=7)
SELECTORS: Final = ("selector1", "default")
KEY: Final = "v=DKIM1; k=rsa; p=MIGf"
M365: Final = "v=spf1 include:spf.protection.outlook.com -all"
TARGET: Final = "selector1-x._domainkey.firmaas.onmicrosoft.com"

Records = dict[str, dict[str, list[Any]]]


def _by_mx(domain: str) -> Records:
    return {
        domain: {"MX": [(0, "firma.mail.protection.outlook.com")], "TXT": [M365]},
        f"_dmarc.{domain}": {"TXT": ["v=DMARC1; p=reject"]},
    }


def _by_dkim_behind_a_gateway(domain: str) -> Records:
    return {
        domain: {"MX": [(10, "mx1-eu1.ppe-hosted.com")], "TXT": ["v=spf1 -all"], "NS": ["ns1.natrohost.com"]},
        f"selector1._domainkey.{domain}": {"CNAME": [TARGET]},
        f"selector2._domainkey.{domain}": {"CNAME": [TARGET.replace("selector1", "selector2", 1)]},
    }


def _by_nested_spf_and_teams_behind_a_gateway(domain: str) -> Records:
    return {
        domain: {"MX": [(10, "eu-smtp-inbound-1.mimecast.com")], "TXT": [f"v=spf1 include:s.{domain} -all"]},
        f"s.{domain}": {"TXT": [M365]},
        f"lyncdiscover.{domain}": {"CNAME": ["webdir.online.lync.com"]},
        "_dmarc.example": {"TXT": ["v=DMARC1; p=none; sp=reject"]},
    }


def _by_two_hints_behind_a_relay(domain: str) -> Records:
    return {
        domain: {"MX": [(10, "mx.relay.example")], "TXT": [f"v=spf1 include:s.{domain} -all"]},
        f"s.{domain}": {"TXT": [M365]},
        f"autodiscover.{domain}": {"CNAME": ["autodiscover.outlook.com"]},
        f"default._domainkey.{domain}": {"TXT": [KEY]},
    }


def _by_the_cname_of_its_mx(domain: str) -> Records:
    return {
        domain: {"MX": [(10, f"mail.{domain}")], "TXT": [M365, "MS=ms1"]},
        f"mail.{domain}": {"CNAME": ["firma.x-v1.mx.microsoft"]},
    }


KNOWN_BY: Final = (
    _by_mx,
    _by_dkim_behind_a_gateway,
    _by_nested_spf_and_teams_behind_a_gateway,
    _by_two_hints_behind_a_relay,
    _by_the_cname_of_its_mx,
)
"""Each way in which Microsoft 365 can be known."""

DOMAINS: Final = tuple(f"firma{number}.example" for number in range(len(KNOWN_BY)))


def _server(moved: int = 0) -> DnsServer:
    """An honest server; where the domains `moved`, each is known by another way."""
    records: Records = {TARGET: {"TXT": [KEY]}, TARGET.replace("selector1", "selector2", 1): {"TXT": [KEY]}}
    for number, domain in enumerate(DOMAINS):
        records |= KNOWN_BY[(number + moved) % len(KNOWN_BY)](domain)
    return DnsServer(Zone.from_records(records))


Honest = Callable[[bytes], bytes]


def _honest(moved: int = 0) -> Honest:
    server = _server(moved)

    def answer(asked: bytes) -> bytes:
        message = server.respond(asked, udp=False)
        assert message is not None
        return message

    return answer


KINDS: Final = ("MX", "TXT", "NS", "_dmarc", "selector1", "selector2", "default", "autodiscover", "s", "mail", "other")
"""What is asked: by type at a domain itself, by the first label below it."""


def _kind(asked: bytes) -> str:
    (section,) = dns.message.from_wire(asked).question
    name = section.name.to_text(omit_final_dot=True).lower()
    if name in DOMAINS:
        return section.rdtype.name
    first = name.split(".")[0]
    return first if first in KINDS else "other"


ENDLESS: Final = "CNAMEs without end"
SPOILED: Final = tuple(spoiled(_honest()))
HARMLESS: Final = tuple(harmless(_honest()))

Way = str | tuple[str, bytes] | int
"""A way to meet a question: of `hostile` by name, drawn bytes behind the right id, or the answer cut after so much."""

Plan = Mapping[str, Way]

WAYS: Final[st.SearchStrategy[Way]] = st.one_of(
    st.sampled_from(HARMLESS),
    st.sampled_from(SPOILED),
    st.tuples(st.sampled_from(["UDP", "TCP"]), st.binary(max_size=80)),
    st.integers(2, 200),
)
PLANS: Final[st.SearchStrategy[Plan]] = st.fixed_dictionaries(dict.fromkeys(KINDS, WAYS))


def _script(plan: Plan, honest: Honest) -> Script:
    named = {**spoiled(honest), **harmless(honest)}

    def script(asked: bytes) -> Reply:
        way = ENDLESS if is_made_up(asked) else plan[_kind(asked)]
        match way:
            case str():
                return named[way](asked)
            case int():
                whole = honest(asked)
                return Reply((whole[: min(way, len(whole) - 1)],))
            case "UDP", data:
                return Reply((asked[:2] + data,))
            case _, data:
                return stream(lambda asked: framed(asked[:2] + data))(asked)

    return script


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with HostileServer(lambda asked: Reply()) as server:
        yield server


@pytest.fixture(scope="module", autouse=True)
def short_waits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 0.04)
        patch.setattr("partner_center_pipeline.mail.resolver.TRIES", 2)
        yield


def _scan(server: HostileServer | DnsServer, at: datetime = NOW) -> dict[str, MailSignals]:
    found = scan(DOMAINS, resolvers=[server.address], selectors=SELECTORS, clock=lambda: at)
    return {signals.domain: signals for signals in found}


@pytest.fixture(scope="module")
def known() -> dict[str, MailSignals]:
    """What an honest server says of the domains: Microsoft 365, each by other evidence."""
    with pytest.MonkeyPatch.context() as patch, _server() as server:
        patch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 2.0)
        found = _scan(server)
    assert {signals.provider for signals in found.values()} == {Provider.M365}
    assert not [signals for signals in found.values() if signals.missed]
    return found


def _row(signals: MailSignals, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    row = row_of(signals, stored, 168)
    # As a database keeps it.
    return {**row, "signals": json.loads(json.dumps(row["signals"]))}


def _check_facts(scanned: MailSignals, honest: MailSignals) -> None:
    for name, lookup in scanned.lookups.items():
        if not lookup.is_fact:
            assert (lookup.missed in NOT_FACTS, lookup.answered_at) == (True, None)
        elif name in honest.lookups:  # what the MX host's silence leaves open is looked for elsewhere
            assert (lookup.outcome, lookup.records) == (honest.lookups[name].outcome, honest.lookups[name].records)
    assert not scanned.no_mx


def _check(known: dict[str, MailSignals], hostile: HostileServer, plan: Plan) -> None:
    hostile.script = _script(plan, _honest())
    for domain, scanned in _scan(hostile, LATER).items():
        honest = known[domain]
        _check_facts(scanned, honest)
        row = _row(scanned, _row(honest))
        kept = MailSignals.from_row(row["signals"])
        assert (row["provider"], row["tenant"], row["is_complete"]) == ("M365", honest.tenant, True)
        assert (kept.dkim_present, kept.dmarc, kept.spf) == (honest.dkim_present, honest.dmarc, honest.spf)
    # And where the domains are known by something else today, half of which is not to be had.
    hostile.script = _script(plan, _honest(moved=1))
    for domain, scanned in _scan(hostile, LATER).items():
        row = _row(scanned, _row(known[domain]))
        again = _row(scanned, row)
        # Evidence of the MX that it had names nothing today. What is missing is waited for: nothing else is complete.
        assert row["provider"] == "M365" or not row["is_complete"]
        assert (again["provider"], again["is_complete"]) == (row["provider"], row["is_complete"])


@pytest.mark.parametrize("name", SPOILED)
def test_a_server_that_never_answers_brings_no_fact_and_takes_none(
    known: dict[str, MailSignals], hostile: HostileServer, name: str
) -> None:
    _check(known, hostile, dict.fromkeys(KINDS, name))
    for scanned in _scan(hostile).values():
        assert not [lookup for lookup in scanned.lookups.values() if lookup.is_fact]
        assert (scanned.provider, scanned.confidence, scanned.is_complete) == (Provider.UNKNOWN, 0, False)


@pytest.mark.parametrize("name", HARMLESS)
def test_an_honest_answer_in_odd_clothes_is_a_fact(
    known: dict[str, MailSignals], hostile: HostileServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 2.0)
    hostile.script = harmless(_honest())[name]
    assert _scan(hostile) == known


ANY_SERVER = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@settings(ANY_SERVER, max_examples=15)
@given(plan=PLANS)
def test_whatever_a_server_does_facts_stay_facts_and_the_provider_stays_known(
    known: dict[str, MailSignals], hostile: HostileServer, plan: Plan
) -> None:
    _check(known, hostile, plan)


@pytest.mark.slow
@pytest.mark.long
@settings(ANY_SERVER, max_examples=80)
@given(plan=PLANS)
def test_whatever_a_server_does_facts_and_the_provider_stay_known_in_a_long_run(
    known: dict[str, MailSignals], hostile: HostileServer, plan: Plan
) -> None:
    _check(known, hostile, plan)


@pytest.mark.parametrize("name", ["silence", "cut, TCP hangs", ENDLESS])
def test_a_scan_ends_within_its_deadline_whatever_a_server_does(
    hostile: HostileServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 30.0)
    monkeypatch.setattr("partner_center_pipeline.mail.scanner.DOMAIN_SECONDS", 0.5)
    hostile.script = spoiled(_honest())[name]
    began = time.monotonic()
    assert len(_scan(hostile)) == len(DOMAINS)
    assert time.monotonic() - began < 20  # less than one try may take


TEXTS = st.lists(
    st.one_of(
        PIECES.map(tuple),
        st.text(max_size=60).map(lambda text: f"v=spf1 {text}"),
        st.text(max_size=60).map(lambda text: f"v=DMARC1; {text}"),
        st.text(max_size=60).map(lambda text: f"v=DKIM1; p={text}"),
    ),
    max_size=4,
)


@settings(ANY_SERVER, max_examples=25)
@given(TEXTS, TEXTS, TEXTS)
@example(apex=[(b"\x00",)], dmarc=[], selector=[(b"\\u0000",)])
def test_any_text_at_any_name_can_be_scanned_kept_and_stored(
    apex: list[Any], dmarc: list[Any], selector: list[Any]
) -> None:
    records = {
        NAME: {"MX": [(10, "mx1-eu1.ppe-hosted.com")], "TXT": apex},
        f"_dmarc.{NAME}": {"TXT": dmarc},
        f"default._domainkey.{NAME}": {"TXT": selector},
    }
    with pytest.MonkeyPatch.context() as patch, DnsServer(Zone.from_records(records)) as server:
        patch.setattr("partner_center_pipeline.mail.resolver.TRY_SECONDS", 20.0)
        (signals,) = scan([NAME], resolvers=[server.address], selectors=SELECTORS, clock=lambda: NOW)
    assert (signals.missed, signals.is_complete) == ({}, True)
    assert len(signals.lookups["txt"].records) == len(apex)
    row = _row(signals)
    assert MailSignals.from_row(row["signals"]) == signals
    # An escaped NUL, which JSONB refuses; a backslash with u0000 behind it is text like any other.
    assert "\\u0000" not in json.dumps(row["signals"]).replace("\\\\", "")
