"""DNS over real UDP and TCP, asked with dnspython."""

import socket
import struct
import threading
import time
from collections.abc import Iterator

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from partner_center_simulator import DnsFault, DnsServer, Faults, Simulator, Zone
from partner_center_simulator.zone import Records

RECORDS: Records = {
    "firma.com.tr": {
        "MX": [(10, "mail.firma.com.tr")],
        "TXT": ["v=spf1 mx -all", "x" * 600, b"\xff\x00"],
        "SOA": [("ns1.firma.com.tr", "admin.firma.com.tr", 1, 2, 3, 4, 77)],
    },
    "www.firma.com.tr": {"CNAME": ["firma.com.tr"]},
    "large.firma.com.tr": {"TXT": ["y" * 5000]},
}


@pytest.fixture
def server() -> Iterator[DnsServer]:
    with DnsServer(Zone.from_records(RECORDS), Faults()) as running:
        yield running


def ask(
    server: DnsServer, name: str, kind: str, *, tcp: bool = False, payload: int | None = 1232
) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=payload is not None, payload=payload or 512)
    host, port = server.address
    return (dns.query.tcp if tcp else dns.query.udp)(query, host, port=port, timeout=30)


@pytest.mark.parametrize("tcp", [False, True])
def test_records_come_over_udp_and_tcp(server: DnsServer, *, tcp: bool) -> None:
    response = ask(server, "firma.com.tr", "MX", tcp=tcp)
    assert response.rcode() == dns.rcode.NOERROR
    assert response.flags & dns.flags.RA
    assert response.answer[0].to_text() == "firma.com.tr. 3600 IN MX 10 mail.firma.com.tr."
    text = {b"".join(rdata.strings) for rdata in ask(server, "firma.com.tr", "TXT", tcp=tcp).answer[0]}
    assert text == {b"v=spf1 mx -all", b"x" * 600, b"\xff\x00"}


def test_the_case_of_a_question_is_kept_and_does_not_matter(server: DnsServer) -> None:
    response = ask(server, "FiRmA.CoM.tR", "MX")
    assert response.question[0].name.to_text() == "FiRmA.CoM.tR."
    assert len(response.answer) == 1


def test_a_cname_comes_with_what_it_leads_to(server: DnsServer) -> None:
    kinds = [rrset.rdtype for rrset in ask(server, "www.firma.com.tr", "MX").answer]
    assert kinds == [dns.rdatatype.CNAME, dns.rdatatype.MX]


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [("firma.com.tr", "AAAA", dns.rcode.NOERROR), ("x.firma.com.tr", "MX", dns.rcode.NXDOMAIN)],
)
def test_a_negative_answer_carries_the_soa(server: DnsServer, name: str, kind: str, rcode: dns.rcode.Rcode) -> None:
    response = ask(server, name, kind)
    assert response.rcode() == rcode
    assert response.answer == []
    (soa,) = response.authority
    assert (soa.name.to_text(), soa.ttl, soa[0].minimum) == ("firma.com.tr.", 77, 77)


@pytest.mark.parametrize(("payload", "cut"), [(None, True), (512, True), (1232, True), (8000, False)])
def test_what_does_not_fit_into_udp_is_asked_again_over_tcp(
    server: DnsServer, payload: int | None, *, cut: bool
) -> None:
    response = ask(server, "large.firma.com.tr", "TXT", payload=payload)
    assert bool(response.flags & dns.flags.TC) == cut
    assert bool(response.answer) != cut
    assert response.edns == (-1 if payload is None else 0)
    whole = ask(server, "large.firma.com.tr", "TXT", tcp=True)
    assert b"".join(whole.answer[0][0].strings) == b"y" * 5000


def test_a_tcp_connection_takes_many_questions(server: DnsServer) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        for name in ("firma.com.tr", "x.firma.com.tr", "firma.com.tr"):
            query = dns.message.make_query(name, "MX")
            dns.query.send_tcp(connection, query)
            response, _ = dns.query.receive_tcp(connection)
            assert query.is_response(response)


@pytest.mark.parametrize(
    ("fault", "rcode"), [(DnsFault.SERVFAIL, dns.rcode.SERVFAIL), (DnsFault.REFUSED, dns.rcode.REFUSED)]
)
def test_a_failing_server_says_so(server: DnsServer, fault: DnsFault, rcode: dns.rcode.Rcode) -> None:
    assert ask(server, "firma.com.tr", "MX").answer  # an answer that is remembered does not hide the fault
    server.faults.dns = fault
    assert ask(server, "firma.com.tr", "MX").rcode() == rcode
    assert ask(server, "firma.com.tr", "MX", tcp=True).rcode() == rcode
    server.faults.dns = None
    assert ask(server, "firma.com.tr", "MX").rcode() == dns.rcode.NOERROR


def test_a_silent_a_broken_and_a_truncating_server(server: DnsServer) -> None:
    query = dns.message.make_query("firma.com.tr", "MX")
    host, port = server.address
    server.faults.dns_names["firma.com.tr"] = DnsFault.TIMEOUT
    with pytest.raises(dns.exception.Timeout):
        dns.query.udp(query, host, port=port, timeout=0.1)
    server.faults.dns_names["firma.com.tr"] = DnsFault.MALFORMED
    with pytest.raises(dns.exception.FormError):
        dns.query.udp(query, host, port=port, timeout=30)
    server.faults.dns_names["firma.com.tr"] = DnsFault.TRUNCATE
    assert ask(server, "firma.com.tr", "MX").flags & dns.flags.TC
    assert ask(server, "firma.com.tr", "MX", tcp=True).answer


def test_a_name_that_a_zone_truncates_is_answered_whole_over_tcp() -> None:
    with DnsServer(Zone.from_records(RECORDS, {"firma.com.tr": "truncate"})) as server:
        cut = ask(server, "firma.com.tr", "MX")
        assert (bool(cut.flags & dns.flags.TC), cut.answer) == (True, [])
        assert ask(server, "firma.com.tr", "MX", tcp=True).answer[0][0].exchange.to_text() == "mail.firma.com.tr."
        absent = ask(server, "firma.com.tr", "AAAA", tcp=True)
        assert (absent.rcode(), absent.answer, len(absent.authority)) == (dns.rcode.NOERROR, [], 1)


@pytest.mark.parametrize("name", [rb"m\252\200l.firma.com.tr", rb"a\.b.firma.com.tr", rb"*.firma.com.tr"])
def test_a_name_of_any_bytes_can_be_asked_for(name: bytes) -> None:
    strange = name.decode()
    with DnsServer(Zone.from_records({strange: {"TXT": "here"}, "b.firma.com.tr": {"A": "192.0.2.1"}})) as server:
        assert ask(server, strange, "TXT").answer[0].to_text() == f'{strange}. 3600 IN TXT "here"'
        assert ask(server, f"x{strange}", "TXT").rcode() == dns.rcode.NXDOMAIN


def test_a_changed_zone_answers_anew(server: DnsServer) -> None:
    assert ask(server, "firma.com.tr", "MX").answer
    server.zone.add({"firma.com.tr": {"MX": [(5, "neu.firma.com.tr")]}})
    assert "neu" in ask(server, "firma.com.tr", "MX").answer[0].to_text()
    server.zone.set_fault("firma.com.tr", DnsFault.SERVFAIL)
    assert ask(server, "firma.com.tr", "MX").rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    "message",
    [
        b"ab",
        b"ab" + bytes(10),
        dns.message.make_query("firma.com.tr", "MX", id=1).to_wire()[:20],
        b"ab\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x0f\x00\x01",
        struct.pack("!HHHHHH", 1, 0x8000, 1, 0, 0, 0) + b"\x00\x00\x0f\x00\x01",
        struct.pack("!HHHHHH", 1, 5 << 11, 1, 0, 0, 0) + b"\x00\x00\x06\x00\x01",
        struct.pack("!HHHHHH", 1, 0, 1, 0, 0, 0) + (b"\x3f" + b"\xff" * 63) * 4 + b"\x00\x00\x0f\x00\x01",
    ],
)
def test_what_is_no_question_is_a_format_error_and_the_server_goes_on(server: DnsServer, message: bytes) -> None:
    answer = server.respond(message, udp=True)
    assert answer
    assert dns.message.from_wire(answer, question_only=True).rcode() == dns.rcode.FORMERR
    assert server.respond(b"a", udp=True) is None
    assert ask(server, "firma.com.tr", "MX").answer


def test_every_name_of_a_world_can_be_put_on_the_wire() -> None:
    sim = Simulator(seed=2, referrals=0)
    for index in range(120):
        domain = sim.world.companies.company(index).domain
        for name, kind in (
            (domain, "MX"), (domain, "TXT"), (domain, "NS"), (domain, "SOA"), (domain, "ANY"),
            (f"_dmarc.{domain}", "TXT"), (f"selector2._domainkey.{domain}", "TXT"), (f"autodiscover.{domain}", "CNAME"),
            (f"mail.{domain}", "A"),
        ):  # fmt: skip
            query = dns.message.make_query(name, kind)
            wire = sim.dns.respond(query.to_wire(), udp=False)
            if wire is not None:
                assert query.is_response(dns.message.from_wire(wire))


def test_a_server_without_its_port_leaves_no_thread(server: DnsServer) -> None:
    before = set(threading.enumerate())
    for _ in range(20):
        with pytest.raises(OSError, match="in use"):
            DnsServer(Zone(), port=server.address[1]).start()
        assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_is_taken_for_one_of_both_is_not_used_for_the_other(kind: socket.SocketKind) -> None:
    with socket.socket(type=kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        with pytest.raises(OSError, match="in use"):
            DnsServer(Zone(), port=other.getsockname()[1]).start()


def test_a_stopped_server_leaves_no_thread_and_its_port_is_free() -> None:
    before = set(threading.enumerate())
    with DnsServer(Zone()) as first:
        port = first.address[1]
        first.stop()
        first.start()
        assert ask(first, "firma.com.tr", "MX").rcode() == dns.rcode.NXDOMAIN
    with DnsServer(Zone.from_records(RECORDS), port=port) as second:
        assert ask(second, "firma.com.tr", "MX").answer
    assert set(threading.enumerate()) <= before


def test_answers_may_come_late_and_many_at_once() -> None:
    """As a resolver's in another place: each answer takes its time, and none waits for the one before."""
    with DnsServer(Zone.from_records(RECORDS), delay=0.2) as server, socket.socket(type=socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        began = time.monotonic()
        for _ in range(20):
            client.sendto(dns.message.make_query("firma.com.tr", "MX").to_wire(), server.address)
        answers = [client.recv(4096) for _ in range(20)]
        assert 0.2 <= time.monotonic() - began < 20 * 0.2
        assert all(dns.message.from_wire(answer).answer for answer in answers)
