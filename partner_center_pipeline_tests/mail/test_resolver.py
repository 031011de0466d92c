"""Questions over real DNS on loopback: UDP, TCP, retries, the cache."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from partner_center_pipeline.mail.resolver import (
    CachingResolver,
    ResolverError,
    SharedBucket,
    StubResolver,
    TokenBucket,
)
from partner_center_pipeline.mail.signals import Outcome
from partner_center_pipeline.mail.wire import CNAME, MX, TXT, Answer, RdataType
from partner_center_pipeline_tests.mail.hostile import HostileServer, Reply, framed, truncated
from partner_center_simulator.dns import DnsServer
from partner_center_simulator.faults import DnsFault, Faults
from partner_center_simulator.zone import Answer as ZoneAnswer
from partner_center_simulator.zone import Zone

RESOLVER = "partner_center_pipeline.mail.resolver"

ZONE: dict[str, dict[str, list[Any]]] = {
    "firma.com.tr": {
        "MX": [(10, "mail.firma.com.tr"), (5, "mx.firma.com.tr")],
        "TXT": ["v=spf1 mx -all", b"\xfe\x00x"],
        "SOA": [("ns.firma.com.tr", "a.firma.com.tr", 1, 2, 3, 4, 60)],
    },
    "long.firma.com.tr": {"TXT": ["x" * 3000, "y"]},
    "a.firma.com.tr": {"CNAME": ["b.firma.com.tr"]},
    "b.firma.com.tr": {"CNAME": ["c.firma.com.tr"]},
    "c.firma.com.tr": {"TXT": ["at the end"]},
    "loop1.firma.com.tr": {"CNAME": ["loop2.firma.com.tr"]},
    "loop2.firma.com.tr": {"CNAME": ["loop1.firma.com.tr"]},
    "dangling.firma.com.tr": {"CNAME": ["nowhere.example"]},
    "truncated.firma.com.tr": {"TXT": ["over TCP"]},
}
FAULTS = {
    "refused.firma.com.tr": "refused",
    "servfail.firma.com.tr": "servfail",
    "malformed.firma.com.tr": "malformed",
}


class UnfollowedZone(Zone):
    """A zone that answers with one CNAME and leaves it to the client to ask for its target."""

    def lookup(self, qname: str, qtype: str) -> ZoneAnswer:
        answer = super().lookup(qname, qtype)
        if qtype != "CNAME" and answer.records and answer.records[0].type == "CNAME":
            return ZoneAnswer(super().lookup(qname, "CNAME").rcode, answer.records[:1])
        return answer


class MoodyServer(DnsServer):
    """Leaves its first questions without an answer, or reads no EDNS."""

    silent_for = 0
    knows_edns = True

    def respond(self, question: bytes, *, udp: bool) -> bytes | None:
        if self.silent_for:
            self.silent_for -= 1
            return None
        if not self.knows_edns and question[11]:
            return question[:2] + b"\x80\x01" + bytes(8)
        return super().respond(question, udp=udp)


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    truncating = Faults(dns_names={"truncated.firma.com.tr": DnsFault.TRUNCATE})
    with DnsServer(Zone.from_records(ZONE, FAULTS), truncating) as running:
        yield running


def ask(name: str, rdtype: RdataType, *servers: DnsServer | HostileServer) -> Answer:
    async def session() -> Answer:
        async with StubResolver([server.address for server in servers]) as resolver:
            return await resolver.query(name, rdtype)

    return asyncio.run(session())


def test_records_come_back_in_presentation_form(server: DnsServer) -> None:
    answer = ask("firma.com.tr", MX, server)
    assert set(answer.records) == {"10 mail.firma.com.tr", "5 mx.firma.com.tr"}
    assert ask("firma.com.tr", TXT, server).records == ("v=spf1 mx -all", "\\xfe\\x00x")


def test_an_answer_too_long_for_udp_comes_over_tcp(server: DnsServer) -> None:
    assert ask("long.firma.com.tr", TXT, server).records == ("x" * 3000, "y")


def test_an_answer_marked_as_truncated_comes_over_tcp(server: DnsServer) -> None:
    assert ask("truncated.firma.com.tr", TXT, server).records == ("over TCP",)


def test_cnames_are_followed_to_their_end(server: DnsServer) -> None:
    answer = ask("a.firma.com.tr", TXT, server)
    assert (answer.records, answer.cnames) == (("at the end",), ("b.firma.com.tr", "c.firma.com.tr"))


def test_cnames_that_the_server_does_not_follow_are_followed_here() -> None:
    with DnsServer(UnfollowedZone.from_records(ZONE)) as unfollowed:
        assert ask("a.firma.com.tr", TXT, unfollowed).records == ("at the end",)
        assert ask("loop1.firma.com.tr", TXT, unfollowed).outcome is Outcome.SERVFAIL


def test_a_loop_of_cnames_is_an_error_as_most_resolvers_say_themselves(server: DnsServer) -> None:
    assert ask("loop1.firma.com.tr", TXT, server).outcome is Outcome.SERVFAIL


def test_a_cname_into_the_void_is_seen(server: DnsServer) -> None:
    answer = ask("dangling.firma.com.tr", TXT, server)
    assert (answer.outcome, answer.cnames) == (Outcome.NXDOMAIN, ("nowhere.example",))
    assert ask("dangling.firma.com.tr", CNAME, server).records == ("nowhere.example",)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("nowhere.firma.com.tr", Outcome.NXDOMAIN),
        ("com.tr", Outcome.NODATA),
        ("refused.firma.com.tr", Outcome.REFUSED),
        ("servfail.firma.com.tr", Outcome.SERVFAIL),
        ("malformed.firma.com.tr", Outcome.MALFORMED),
        ("a..b", Outcome.NXDOMAIN),
    ],
)
def test_every_way_an_answer_can_end_is_told_apart(
    server: DnsServer, name: str, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.2)
    assert ask(name, TXT, server).outcome is outcome


def test_a_malformed_answer_does_not_disturb_the_other_questions(
    server: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.5)

    async def session() -> list[Answer]:
        async with StubResolver([server.address]) as resolver:
            names = ["firma.com.tr", "malformed.firma.com.tr", "c.firma.com.tr"] * 5
            return await asyncio.gather(*(resolver.query(name, TXT) for name in names))

    outcomes = [answer.outcome for answer in asyncio.run(session())]
    assert outcomes == [Outcome.FOUND, Outcome.MALFORMED, Outcome.FOUND] * 5


def test_a_resolver_that_refuses_is_made_up_for_by_the_next(server: DnsServer) -> None:
    with DnsServer(Zone(), Faults(dns=DnsFault.REFUSED)) as refusing:
        for _ in range(2):
            assert ask("c.firma.com.tr", TXT, refusing, server).outcome is Outcome.FOUND


def test_every_attempt_goes_to_the_next_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.05)
    silent = Faults(dns=DnsFault.TIMEOUT)
    with DnsServer(Zone(), silent) as first, DnsServer(Zone(), silent) as second, DnsServer(Zone(), silent) as third:
        assert ask("c.firma.com.tr", TXT, first, second, third).outcome is Outcome.TIMEOUT
        assert (first.questions, second.questions, third.questions) == (1, 1, 1)


def test_a_lost_datagram_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.2)
    with MoodyServer(Zone.from_records(ZONE)) as lossy:
        lossy.silent_for = 1
        assert ask("c.firma.com.tr", TXT, lossy).outcome is Outcome.FOUND


def test_silence_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.05)
    with DnsServer(Zone(), Faults(dns=DnsFault.TIMEOUT)) as silent:
        assert ask("c.firma.com.tr", TXT, silent).outcome is Outcome.TIMEOUT


def test_a_port_where_nobody_listens_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.2)
    with DnsServer(Zone()) as gone:
        pass
    assert ask("c.firma.com.tr", TXT, gone).outcome is Outcome.TIMEOUT


def test_a_resolver_that_reads_no_edns_is_asked_without() -> None:
    with MoodyServer(Zone.from_records(ZONE)) as old:
        old.knows_edns = False
        assert ask("c.firma.com.tr", TXT, old).outcome is Outcome.FOUND


def test_an_address_that_does_not_exist_is_refused_with_the_setting_named() -> None:
    async def session() -> None:
        async with StubResolver([("no-such-host.invalid", 53)]):
            pass

    with pytest.raises(ResolverError, match="HUNTER_DNS_RESOLVERS"):
        asyncio.run(session())


def over_tcp(answer: Callable[[bytes], bytes], *, hangs: bool = False) -> Callable[[bytes], Reply]:
    return lambda question: Reply((truncated(question),), answer(question), hangs)


def honest(question: bytes) -> bytes:
    message = DnsServer(Zone.from_records(ZONE)).respond(question, udp=False)
    assert message is not None
    return message


@pytest.mark.parametrize(
    ("stream", "hangs", "outcome"),
    [
        (lambda question: framed(honest(question)), False, Outcome.FOUND),
        (lambda question: framed(honest(question)), True, Outcome.FOUND),
        (lambda question: b"", False, Outcome.TIMEOUT),
        (lambda question: b"", True, Outcome.TIMEOUT),
        (lambda question: b"\0", False, Outcome.TIMEOUT),
        (lambda question: framed(honest(question))[:-1], False, Outcome.TIMEOUT),
        (lambda question: framed(honest(question))[:-1], True, Outcome.TIMEOUT),
        (lambda question: framed(b""), False, Outcome.MALFORMED),
        (lambda question: framed(honest(question)[:-1]), False, Outcome.MALFORMED),
        (lambda question: framed(bytes([question[0] ^ 1]) + honest(question)[1:]), False, Outcome.MALFORMED),
        (lambda question: framed(truncated(question)), False, Outcome.MALFORMED),
    ],
    ids=[
        "whole", "whole, stays open", "closes at once", "says nothing", "half a length", "breaks off", "stops half way",
        "nothing with a length", "half an answer", "another id", "truncated again",
    ],
)  # fmt: skip
def test_tcp_that_breaks_off_or_answers_badly_is_no_fact(
    monkeypatch: pytest.MonkeyPatch, stream: Callable[[bytes], bytes], *, hangs: bool, outcome: Outcome
) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.2)
    with HostileServer(over_tcp(stream, hangs=hangs)) as hostile:
        assert ask("c.firma.com.tr", TXT, hostile).outcome is outcome


def test_an_answer_with_another_id_is_passed_over_and_the_right_one_awaited() -> None:
    def twice(question: bytes) -> Reply:
        right = honest(question)
        return Reply((bytes([right[0] ^ 1]) + right[1:], b"", b"\0", right))

    with HostileServer(twice) as hostile:
        assert ask("c.firma.com.tr", TXT, hostile).outcome is Outcome.FOUND
        assert hostile.questions == 1


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "another id": lambda right: bytes([right[0] ^ 1]) + right[1:],
    "another name": lambda right: right[:13] + bytes([right[13] ^ 3]) + right[14:],
    "no such name, for another type": lambda right: right[:3] + b"\x83" + right[4:28] + b"\0\x0f" + right[30:],
    "half a question": lambda right: right[:20],
    "a header alone": lambda right: right[:3] + b"\x83" + bytes(8),
    "an id alone": lambda right: right[:2],
}
"""What somebody sends who may know the id, and comes before the resolver; its answer is given."""


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_forged_answer_that_comes_first_does_not_end_the_question(forge: Callable[[bytes], bytes]) -> None:
    def first(question: bytes) -> Reply:
        right = honest(question)
        return Reply((forge(right), right))

    with HostileServer(first) as hostile:
        assert ask("c.firma.com.tr", TXT, hostile).records == ("at the end",)
        assert hostile.questions == 1


def test_an_answer_in_other_capitals_is_asked_for_over_tcp_where_nobody_forges_it() -> None:
    def forged(question: bytes) -> Reply:
        made_up = honest(question).replace(b"at the end", b"made up   ")
        return Reply((made_up[:12] + made_up[12:].swapcase(),), framed(honest(question)))

    with HostileServer(forged) as hostile:
        for _ in range(5):
            assert ask("c.firma.com.tr", TXT, hostile).records == ("at the end",)


def test_each_question_has_a_port_an_id_and_capitals_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.05)
    came: list[bytes] = []

    def script(question: bytes) -> Reply:
        came.append(question)
        return Reply()

    with HostileServer(script) as silent:
        for _ in range(10):
            ask("a-rather-long-name.firma.com.tr", TXT, silent)
    assert len(came) == 30
    assert len(set(silent.ports)) > 20
    assert len({question[:2] for question in came}) > 20
    assert len({question[12:-11] for question in came}) > 20
    assert len({question[12:-11].lower() for question in came}) == 1


async def _ask_many(names: int, rate: float, *servers: DnsServer | HostileServer) -> None:
    async with StubResolver([server.address for server in servers], rate) as stub:
        await asyncio.gather(*(stub.query(f"n{number}.firma.com.tr", TXT) for number in range(names)))


def seconds_for(names: int, rate: float, *servers: DnsServer | HostileServer) -> float:
    began = time.monotonic()
    asyncio.run(_ask_many(names, rate, *servers))
    return time.monotonic() - began


@pytest.mark.slow
def test_each_resolver_gets_its_own_number_of_questions_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.is_loopback", lambda host: False)
    # 60 questions at 50 a second, the first five of each resolver at once.
    with DnsServer(Zone()) as only:
        assert seconds_for(60, 50, only) > 1.05
    with DnsServer(Zone()) as first, DnsServer(Zone()) as second:
        assert 0.45 < seconds_for(60, 50, first, second) < 1.05
        assert (first.questions, second.questions) == (30, 30)


def test_a_question_that_is_asked_again_over_tcp_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{RESOLVER}.is_loopback", lambda host: False)
    with DnsServer(Zone(), Faults(dns=DnsFault.TRUNCATE)) as server:
        assert seconds_for(30, 100, server) > 0.45
        assert server.questions == 60


def test_a_resolver_on_loopback_is_asked_as_fast_as_it_answers(server: DnsServer) -> None:
    assert seconds_for(200, 20, server) < 5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "messages"),
    [(lambda question: Reply(), 1), (over_tcp(lambda question: b"", hangs=True), 2)],
    ids=["over UDP", "over TCP"],
)
def test_a_resolver_has_a_bounded_number_of_questions_unanswered(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[bytes], Reply], messages: int
) -> None:
    monkeypatch.setattr(f"{RESOLVER}.IN_FLIGHT", 4)
    monkeypatch.setattr(f"{RESOLVER}.TRY_SECONDS", 0.6)
    monkeypatch.setattr(f"{RESOLVER}.TRIES", 1)
    came: list[float] = []

    def script(question: bytes) -> Reply:
        came.append(time.monotonic())
        return answer(question)

    with HostileServer(script) as silent:
        asyncio.run(_ask_many(8, 1000, silent))
    assert len(came) == 8 * messages
    # The fifth question waits until one of the first four is given up.
    assert came[4 * messages] - came[0] > 0.3


class CountedSeconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_is_used_again_until_its_ttl_is_over(server: DnsServer) -> None:
    seconds = CountedSeconds()

    async def session() -> list[int]:
        counts = []
        async with StubResolver([server.address]) as stub:
            resolver = CachingResolver(stub, seconds)
            for name, later in (
                ("c.firma.com.tr", 3599),
                ("c.firma.com.tr", 2),
                ("no.firma.com.tr", 59),
                ("no.firma.com.tr", 2),
            ):
                before = server.questions
                await resolver.query(name, TXT)
                seconds.now += later
                await resolver.query(name, TXT)
                counts.append(server.questions - before)
        return counts

    # Zone records live 3600 s; the SOA says that a negative answer lives 60 s.
    assert asyncio.run(session()) == [1, 1, 1, 1]


def test_no_ttl_makes_an_answer_last_longer_than_a_day() -> None:
    seconds = CountedSeconds()

    def lasting(question: bytes) -> Reply:
        message = honest(question)
        ttl = (3600).to_bytes(4, "big")
        assert message.count(ttl) == 1
        return Reply((message.replace(ttl, (2**31 - 1).to_bytes(4, "big")),))

    async def session() -> None:
        async with StubResolver([eternal.address]) as stub:
            resolver = CachingResolver(stub, seconds)
            for later, asked in ((0, 1), (86_399, 1), (2, 2)):
                seconds.now += later
                assert (await resolver.query("c.firma.com.tr", TXT)).ttl == 2**31 - 1
                assert eternal.questions == asked

    with HostileServer(lasting) as eternal:
        asyncio.run(session())


def test_what_is_no_fact_is_not_remembered(server: DnsServer) -> None:
    async def session() -> int:
        async with StubResolver([server.address]) as stub:
            resolver = CachingResolver(stub, CountedSeconds())
            before = server.questions
            await resolver.query("refused.firma.com.tr", TXT)
            await resolver.query("refused.firma.com.tr", TXT)
            return server.questions - before

    assert asyncio.run(session()) == 6


def test_the_same_question_under_way_is_not_asked_twice(server: DnsServer) -> None:
    async def session() -> int:
        async with StubResolver([server.address]) as stub:
            resolver = CachingResolver(stub, CountedSeconds())
            before = server.questions
            await asyncio.gather(*(resolver.query("c.firma.com.tr", TXT) for _ in range(20)))
            return server.questions - before

    assert asyncio.run(session()) == 1


def test_who_waits_for_anothers_question_asks_it_when_the_other_is_cancelled(server: DnsServer) -> None:
    async def session() -> Answer:
        async with StubResolver([server.address]) as stub:
            resolver = CachingResolver(stub, CountedSeconds())
            first = asyncio.create_task(resolver.query("c.firma.com.tr", TXT))
            second = asyncio.create_task(resolver.query("c.firma.com.tr", TXT))
            await asyncio.sleep(0)
            first.cancel()
            return await second

    assert asyncio.run(session()).outcome is Outcome.FOUND


def test_a_token_bucket_lets_a_burst_through_and_then_keeps_to_the_rate() -> None:
    bucket = TokenBucket(100)
    waits = [bucket.reserve(1.0) for _ in range(30)]
    assert waits[:10] == [0.0] * 10
    assert waits[-1] == pytest.approx(0.2)
    assert bucket.reserve(10.0) == 0.0


def test_a_shared_bucket_takes_time_in_blocks_and_spreads_its_questions_over_them() -> None:
    taken: list[float] = []

    def reserve(seconds: float) -> float:
        taken.append(seconds)
        return 0.3 * (len(taken) - 1)  # another process has the time between

    async def waits() -> list[float]:
        bucket = SharedBucket(100, reserve)
        return [await bucket.reserve(lambda: 5.0) for _ in range(25)]

    waited = asyncio.run(waits())
    assert taken == pytest.approx([0.1] * 3)
    assert waited == pytest.approx(
        [*(0.01 * n for n in range(10)), *(0.3 + 0.01 * n for n in range(10)), *(0.6 + 0.01 * n for n in range(5))]
    )


def test_a_process_that_nobody_gives_time_keeps_the_rate_by_itself() -> None:
    """As long as the database is away, `reserve` says that each block begins now."""

    async def waits() -> list[float]:
        bucket = SharedBucket(100, lambda _: 0.0)
        return [await bucket.reserve(lambda: 5.0) for _ in range(100)]

    assert asyncio.run(waits()) == pytest.approx([0.01 * number for number in range(100)])


def test_a_block_that_was_not_used_in_its_time_is_not_used_later() -> None:
    taken: list[float] = []
    clock = CountedSeconds()

    def reserve(seconds: float) -> float:
        taken.append(seconds)
        return 0.0

    async def ask() -> None:
        bucket = SharedBucket(100, reserve)
        await bucket.reserve(clock)
        clock.now += 1
        await bucket.reserve(clock)

    asyncio.run(ask())
    assert len(taken) == 2
