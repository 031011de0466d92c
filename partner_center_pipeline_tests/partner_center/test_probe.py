"""The probe says of each assumption about the server whether it holds, and which argument is left."""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from partner_center_pipeline.partner_center import ReferralsClient
from partner_center_pipeline.partner_center.client import Page
from partner_center_pipeline.partner_center.errors import ApiRefused, ForeignHost, ScanIncomplete
from partner_center_pipeline.partner_center.odata import query_text
from partner_center_pipeline.partner_center.probe import probe
from partner_center_pipeline.partner_center.probed import Probed, Question, Verdict, argument
from partner_center_pipeline.partner_center.scan import scan
from partner_center_pipeline.windows import TICKS_PER_SECOND, parse_ticks, render_ticks
from partner_center_pipeline_tests.partner_center.conftest import PatientClock
from partner_center_pipeline_tests.partner_center.test_scan import COARSE, NOW, ORIGIN, row
from partner_center_simulator import Simulator

SECOND = TICKS_PER_SECOND
DOCUMENTED, DIFFERS, REFUSED, FAILS, OPEN = (
    Verdict.DOCUMENTED, Verdict.DIFFERS, Verdict.REFUSED, Verdict.FAILS, Verdict.OPEN
)  # fmt: skip
_BOUND = re.compile(r"updatedDateTime (ge|lt) (\S+)")
FINE = {f"r{number:03}": ORIGIN + number * 10 * SECOND + 1_234_500 + number for number in range(120)}
"""Referrals ten seconds apart, each with seven fraction digits."""
WHOLE = {f"r{number:03}": ORIGIN + number * 10 * SECOND for number in range(120)}


def _case_name(case: object) -> str:
    """Name a case without the address of a function, which differs from process to process."""
    return re.sub(r"<function (\S+) at 0x\w+>", r"\1", str(case))


class ProbedServer(ReferralsClient):
    """A server in memory that breaks the assumptions which it is told to break.

    `compare` makes of an instant what the filter and the order compare. `bounds` are the operators that the filter
    keeps to, `orders` the directions that are kept; `refused` those that get 400, or "filter". `cap` is the most rows
    of a page. `links`: "on", or how they are wrong. `skip`: "taken", "ignored" or "refused". `shift` (ticks) is added
    to each bound. `moving`: with each request the newest referral is updated, to so many ticks later.
    """

    def __init__(
        self,
        times: Mapping[str, int],
        *,
        compare: Callable[[int], Any] = lambda ticks: ticks,
        bounds: str = "ge lt",
        orders: str = "asc desc",
        refused: str = "",
        cap: int = 100,
        links: str = "on",
        skip: str = "taken",
        shift: int = 0,
        moving: int = 0,
    ) -> None:
        super().__init__(httpx.Client(), lambda *, renew=False: "no token", "https://host", 20, clock=PatientClock())
        self.times = dict(times)
        self.requests = 0
        self._compare, self._bounds, self._orders, self._refused = compare, bounds, orders, refused.split()
        self._cap, self._links, self._skip, self._shift, self._moving = cap, links, skip, shift, moving

    def get_referral(self, referral_id: str) -> Any:
        return row(referral_id, self.times[referral_id])

    def _get_list(self, url: str, tries: int | None = None) -> Page:
        options = dict(parse_qsl(urlsplit(url).query))
        offset = options.pop("offset", None)
        if offset is None:
            return self._send(options, 0)
        self.requests += 1
        if self._links == "refused":
            raise ApiRefused("an old token", status=400)
        return self._page_of([], None) if self._links == "dead" else self._send(options, int(offset))

    def _send(self, options: dict[str, str], offset: int) -> Page:
        self.requests += 1
        if self._moving:
            self.times[max(self.times, key=lambda each: self.times[each])] += self._moving
        direction = options.get("$orderby", " desc").rpartition(" ")[2]
        wanted = {direction if "$orderby" in options else "", "filter" if "$filter" in options else ""}
        wanted.add("skip" if "$skip" in options and self._skip == "refused" else "")
        if wanted & {*self._refused, "skip"}:
            raise ApiRefused("not supported", status=400)
        found = sorted(
            (each for each in self.times if self._is_in(options.get("$filter", ""), self.times[each])),
            key=lambda each: (self._compare(self.times[each]), each),
            reverse=(direction if direction in self._orders.split() else self._orders.split()[0]) == "desc",
        )
        size = min(int(options["$top"]), self._cap)
        begin = offset + (int(options.get("$skip", 0)) if self._skip == "taken" and not offset else 0)
        items = [row(each, self.times[each]) for each in found[begin : begin + size]]
        onward = {"back": 0, "later back": begin + size if not begin else 0}.get(self._links, begin + size)
        host = "elsewhere" if self._links == "foreign" else "host"
        link = f"http://{host}/v1.0/referrals?offset={onward}&{query_text(options)}"
        return self._page_of(items, link if begin + size < len(found) and self._links != "none" else None)

    def _is_in(self, condition: str, ticks: int) -> bool:
        bounds = {name: parse_ticks(text.strip("'")) + self._shift for name, text in _BOUND.findall(condition)}
        low, high = (bounds.get(name) if name in self._bounds.split() else None for name in ("ge", "lt"))
        return (low is None or self._compare(low) <= self._compare(ticks)) and (
            high is None or self._compare(ticks) < self._compare(high)
        )

    def _page_of(self, items: list[Any], link: str | None) -> Page:
        return Page(items, link, NOW, 0.0, None)


def answers(server: ReferralsClient) -> dict[Question, Probed]:
    found = list(probe(server))
    assert found[-1].subject is Question.ARGUMENT
    assert len({answer.subject for answer in found}) == len(found) == len(Question)
    return {answer.subject: answer for answer in found}


def told(server: ReferralsClient, question: Question) -> tuple[Verdict, str]:
    answer = answers(server)[question]
    return answer.verdict, answer.found


# Precision


@pytest.mark.parametrize("times", [FINE, WHOLE], ids=["parts of a second", "whole seconds"])
def test_a_server_that_compares_to_the_tick_is_called_exact(times: dict[str, int]) -> None:
    assert told(ProbedServer(times), Question.PRECISION) == (DOCUMENTED, "exact to 100 ns")


@pytest.mark.parametrize("coarse", COARSE)
@pytest.mark.parametrize("times", [FINE, WHOLE], ids=["parts of a second", "whole seconds"])
def test_a_server_that_rounds_cuts_or_compares_text_is_told_and_nothing_depends_on_it(
    coarse: str, times: dict[str, int]
) -> None:
    found = answers(ProbedServer(times, compare=COARSE[coarse]))
    assert found[Question.PRECISION].verdict is DIFFERS
    assert "a second earlier" in found[Question.PRECISION].consequence
    told_of_parts = "compares as text" if coarse == "as text" else "rounds or cuts"
    expected = told_of_parts if times is FINE else "rounds, cuts or compares as text"
    assert found[Question.PRECISION].found == expected
    assert found[Question.FILTER].verdict is DOCUMENTED
    assert found[Question.ARGUMENT].verdict is DOCUMENTED
    assert found[Question.ARGUMENT].found == "keyset scan (arguments 2 to 6)"


@pytest.mark.parametrize(
    ("count", "refused", "left_open"),
    [
        (30, "", {}),
        (150, "", {Question.FILTER: "taken; too many referrals of the same seconds", Question.PRECISION: None}),
        (150, "asc", {Question.PRECISION: "too many referrals of the same seconds"}),
    ],
)
def test_what_a_crowded_second_hides_is_left_open(
    count: int, refused: str, left_open: dict[Question, str | None]
) -> None:
    crowd = {f"r{number:03}": ORIGIN + number for number in range(count)} | {"old": ORIGIN - 3600 * SECOND}
    result = answers(ProbedServer(crowd, refused=refused))
    for question in (Question.FILTER, Question.PRECISION):
        assert result[question].verdict is (OPEN if question in left_open else DOCUMENTED)
        assert left_open.get(question) in (None, result[question].found)


@pytest.mark.parametrize("digit", [4, 9])
def test_a_digit_behind_which_a_cut_does_not_show_leaves_precision_open(digit: int) -> None:
    server = ProbedServer({f"r{number}": ORIGIN + number * 10 * SECOND + digit for number in range(9)})
    assert told(server, Question.PRECISION) == (OPEN, "exact, as far as the referral asked for shows it")


@pytest.mark.parametrize("step", [SECOND // 7, 60 * SECOND])
def test_a_referral_that_changes_meanwhile_accuses_nobody(step: int) -> None:
    found = answers(ProbedServer(dict(list(FINE.items())[:3]), moving=step))
    assert found[Question.FILTER].verdict in (DOCUMENTED, OPEN)
    assert found[Question.PRECISION].verdict in (DOCUMENTED, OPEN)


@pytest.mark.parametrize("date", ["9999-12-31T23:59:59.9999999Z", "2100-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
@pytest.mark.parametrize("count", [0, 120])
def test_a_date_that_cannot_be_right_is_not_asked_about(date: str, count: int) -> None:
    odd = {f"odd{number}": parse_ticks(date) for number in range(3)}
    result = answers(ProbedServer(odd | dict(list(FINE.items())[:count])))
    assert result[Question.PRECISION].verdict is (DOCUMENTED if count else OPEN)
    assert result[Question.FILTER].verdict is (DOCUMENTED if count else OPEN)


# Filter and order


@pytest.mark.parametrize(
    ("breach", "verdict", "found", "argument_found"),
    [
        ({}, DOCUMENTED, "taken, both bounds kept", "keyset scan (arguments 2 to 6)"),
        ({"bounds": "ge"}, DIFFERS, "rows from after the upper bound come", "keyset scan (arguments 2 to 6)"),
        ({"bounds": "lt"}, FAILS, "rows from before the lower bound come", "unfiltered scan (arguments 7 to 10)"),
        (
            {"bounds": ""},
            FAILS,
            "rows from before the lower bound come and from after the upper one",
            "unfiltered scan (arguments 7 to 10)",
        ),
        ({"refused": "filter"}, REFUSED, "HTTP 400 with both forms of a date", "unfiltered scan (arguments 7 to 10)"),
        ({"shift": 2 * 3600 * SECOND}, FAILS, "leaves out a row of the interval", "unfiltered scan"),
    ],
    ids=_case_name,
)  # fmt: skip
def test_each_bound_of_the_filter_is_tested(
    breach: dict[str, Any], verdict: Verdict, found: str, argument_found: str
) -> None:
    result = answers(ProbedServer(FINE, **breach))
    assert (result[Question.FILTER].verdict, result[Question.FILTER].found) == (verdict, found)
    assert result[Question.ARGUMENT].found.startswith(argument_found)


@pytest.mark.parametrize(
    ("breach", "ascending", "descending", "argument_verdict"),
    [
        ({}, DOCUMENTED, DOCUMENTED, DOCUMENTED),
        ({"orders": "desc"}, DIFFERS, DOCUMENTED, DIFFERS),
        ({"orders": "asc"}, DOCUMENTED, DIFFERS, DIFFERS),
        ({"refused": "desc"}, DOCUMENTED, REFUSED, DIFFERS),
        ({"refused": "asc"}, REFUSED, DOCUMENTED, FAILS),
        ({"refused": "asc desc"}, REFUSED, REFUSED, FAILS),
    ],
    ids=_case_name,
)
def test_the_order_is_tested_in_both_directions(
    breach: dict[str, Any], ascending: Verdict, descending: Verdict, argument_verdict: Verdict
) -> None:
    result = answers(ProbedServer(FINE, **breach))
    assert result[Question.ASCENDING].verdict is ascending
    assert result[Question.DESCENDING].verdict is descending
    assert result[Question.ARGUMENT].verdict is argument_verdict


def test_an_order_that_is_kept_to_a_second_is_kept() -> None:
    """As text, half a second later sorts before the whole second."""
    halves = {f"h{number:03}": ORIGIN + number * 10 * SECOND + SECOND // 2 for number in range(60)}
    result = answers(ProbedServer(WHOLE | halves, compare=COARSE["as text"]))
    assert result[Question.ASCENDING].verdict is result[Question.DESCENDING].verdict is DOCUMENTED
    assert result[Question.ARGUMENT].verdict is DOCUMENTED


def test_an_order_that_only_sorts_each_page_is_not_taken_for_kept() -> None:
    class SortsPages(ProbedServer):
        def _send(self, options: dict[str, str], offset: int) -> Page:
            page = super()._send({**options, "$orderby": "updatedDateTime desc"}, offset)
            if options.get("$orderby", "").endswith("asc"):
                page.items.reverse()
            return page

    result = answers(SortsPages(FINE))
    assert result[Question.ASCENDING].verdict is DIFFERS
    assert result[Question.ARGUMENT].found.startswith("unfiltered scan")


def test_rows_held_back_for_the_next_page_break_the_order(sim: Simulator, client: ReferralsClient) -> None:
    sim.faults.out_of_order_row = True
    result = answers(client)
    assert result[Question.ASCENDING].verdict is result[Question.DESCENDING].verdict is DIFFERS
    assert result[Question.ARGUMENT].verdict is FAILS


# Pages


@pytest.mark.parametrize(
    ("breach", "verdict", "found", "consequence"),
    [
        ({}, DOCUMENTED, "leads on", "checks where it leads"),
        ({"links": "dead"}, DIFFERS, "leads to an empty list", "goes on by $skip; where that is not taken, incomplete"),
        ({"links": "back"}, FAILS, "leads back", "incomplete"),
        ({"links": "later back"}, FAILS, "leads back", "incomplete"),
        ({"links": "refused"}, REFUSED, "HTTP 400", "goes on by $skip"),
        ({"links": "foreign"}, FAILS, "leads to another host", "gets no token"),
        ({"links": "none"}, OPEN, "none came", "goes on by $skip"),
    ],
    ids=_case_name,
)  # fmt: skip
def test_a_next_link_must_lead_to_rows_that_were_not_there_before(
    breach: dict[str, Any], verdict: Verdict, found: str, consequence: str
) -> None:
    answer = answers(ProbedServer(FINE, **breach))[Question.FOLLOWED]
    assert (answer.verdict, answer.found) == (verdict, found)
    assert consequence in answer.consequence


def test_a_link_to_the_end_of_a_list_that_was_read_whole_is_not_called_dead() -> None:
    class LinksToItsEnd(ProbedServer):
        def _page_of(self, items: list[Any], link: str | None) -> Page:
            more = "http://host/v1.0/referrals?offset=999&$top=20" if items else None
            return super()._page_of(items, link or more)

    few = dict(list(FINE.items())[:5])
    assert told(LinksToItsEnd(few), Question.FOLLOWED) == (OPEN, "leads to the list's end")


def test_links_to_one_empty_page_after_another_lead_nowhere() -> None:
    class Empty(ProbedServer):
        def _send(self, options: dict[str, str], offset: int) -> Page:
            page = super()._send(options, offset)
            return self._page_of([], f"http://host/v1.0/referrals?offset={offset + 1}&$top=1") if offset else page

    assert told(Empty(FINE), Question.FOLLOWED) == (DIFFERS, "leads to empty pages")


def test_small_pages_without_a_way_on_do_not_make_the_filter_leave_rows_out() -> None:
    crowd = FINE | {f"new{number:02}": NOW - 3600 * SECOND + number for number in range(20)}
    result = answers(ProbedServer(crowd, cap=7, links="none", skip="refused"))
    assert (result[Question.FILTER].verdict, result[Question.FILTER].found) == (
        OPEN,
        "taken; too many referrals of the same seconds",
    )


@pytest.mark.parametrize(
    ("skip", "verdict", "found"),
    [("taken", DOCUMENTED, "taken"), ("ignored", DIFFERS, "passed over"), ("refused", REFUSED, "HTTP 400")],
)
def test_skip_is_taken_passed_over_or_refused(skip: str, verdict: Verdict, found: str) -> None:
    assert told(ProbedServer(FINE, skip=skip), Question.SKIP) == (verdict, found)


@pytest.mark.parametrize(
    ("breach", "verdict", "found", "argument_verdict"),
    [
        ({}, DOCUMENTED, "a page before the end has a link", DOCUMENTED),
        ({"links": "none"}, DIFFERS, "100 rows, and $skip shows more", DOCUMENTED),
        (
            {"links": "none", "skip": "ignored"},
            FAILS,
            "100 rows, the other end of the list shows more, and $skip does not",
            DIFFERS,
        ),
        (
            {"links": "none", "skip": "refused", "cap": 50},
            FAILS,
            "50 rows, the other end of the list shows more, and $skip does not",
            DIFFERS,
        ),
        ({"links": "none", "skip": "ignored", "refused": "filter"}, FAILS, None, FAILS),
        ({"links": "none", "refused": "filter"}, DIFFERS, None, DIFFERS),
    ],
    ids=_case_name,
)
def test_a_page_that_is_cut_off_without_a_link_is_told(
    breach: dict[str, Any], verdict: Verdict, found: str | None, argument_verdict: Verdict
) -> None:
    result = answers(ProbedServer(FINE, **breach))
    assert result[Question.END].verdict is verdict
    assert found in (None, result[Question.END].found)
    assert result[Question.ARGUMENT].verdict is argument_verdict


def test_a_list_that_fits_on_a_page_accuses_nobody() -> None:
    few = dict(list(FINE.items())[:5])
    assert told(ProbedServer(few), Question.END) == (OPEN, "all 5 referrals fit on a page")
    assert told(ProbedServer(few), Question.ARGUMENT)[0] is DOCUMENTED


@pytest.mark.parametrize("count", [0, 1, 2])
def test_with_hardly_any_referral_nothing_is_claimed(count: int) -> None:
    result = answers(ProbedServer(dict(list(FINE.items())[:count])))
    assert not [each for each in result.values() if each.verdict in (FAILS, REFUSED)]
    assert count == 2 or result[Question.ARGUMENT].verdict is OPEN


# All together


BREACHES: tuple[dict[str, Any], ...] = (
    {}, {"refused": "filter"}, {"refused": "asc"}, {"refused": "desc"}, {"refused": "asc desc filter"},
    {"links": "dead", "skip": "refused"}, {"links": "none", "skip": "ignored"}, {"bounds": ""}, {"orders": "desc"},
    {"compare": COARSE["cut to seconds"]}, {"shift": 3600 * SECOND}, {"moving": SECOND // 7}, {"cap": 7},
)  # fmt: skip


@pytest.mark.parametrize("breach", BREACHES, ids=_case_name)
def test_the_probe_costs_at_most_25_requests_and_shows_nothing_of_a_referral(breach: dict[str, Any]) -> None:
    server = ProbedServer(FINE, **breach)
    shown = " ".join(f"{answer.found} {answer.consequence}" for answer in answers(server).values())
    assert server.requests <= 25
    private = [text for each, ticks in FINE.items() for text in (each, render_ticks(ticks))]
    assert not [text for text in private if text in shown]


def test_the_local_microsoft_keeps_every_assumption(sim: Simulator, client: ReferralsClient) -> None:
    before = sim.api.requests
    result = answers(client)
    assert sim.api.requests - before <= 25
    differing = {question for question, answer in result.items() if answer.verdict is not DOCUMENTED}
    assert differing <= {Question.PAGE_SIZE, Question.MFA, Question.CLOCK}
    assert result[Question.ARGUMENT].found == "keyset scan (arguments 2 to 6)"


@pytest.mark.parametrize(
    ("switches", "argument_verdict", "found"),
    [
        ({"filter_updated_refused": True}, DIFFERS, "unfiltered scan (arguments 7 to 10): the filter cannot be used"),
        ({"orderby_updated_refused": True}, FAILS, "none can be proven"),
        ({"next_link_missing": True}, DOCUMENTED, "keyset scan"),
        ({"next_link_back": True}, DIFFERS, "keyset scan (arguments 2 to 6), where a page holds all"),
        ({"next_link_loop": True}, DIFFERS, "keyset scan (arguments 2 to 6), where a page holds all"),
        ({"next_link_foreign": True}, DIFFERS, "keyset scan (arguments 2 to 6), where a page holds all"),
        ({"next_link_loop": True, "filter_updated_refused": True}, FAILS, "none can be proven"),
        ({"reordered_rows": True}, FAILS, "none can be proven"),
        ({"offset_paging": True}, DOCUMENTED, "keyset scan"),
        ({"top_is_total": True}, DOCUMENTED, "keyset scan"),
        ({"largest_page": 7}, DOCUMENTED, "keyset scan"),
    ],
    ids=_case_name,
)
def test_the_argument_follows_what_the_local_microsoft_does(
    sim: Simulator, client: ReferralsClient, switches: dict[str, bool], argument_verdict: Verdict, found: str
) -> None:
    for name, value in switches.items():
        setattr(sim.faults, name, value)
    answer = answers(client)[Question.ARGUMENT]
    assert answer.verdict is argument_verdict
    assert answer.found.startswith(found)


ONE_SECOND = {f"r{number:03}": ORIGIN + number for number in range(300)} | FINE


@pytest.mark.parametrize(
    "breach",
    [
        *BREACHES,
        *({"compare": compare} for compare in COARSE.values()),
        *({"bounds": bounds} for bounds in ("ge", "lt")),
        *({"links": links} for links in ("dead", "back", "later back", "refused", "foreign", "none")),
        *({"links": links, "refused": "filter"} for links in ("dead", "back", "later back", "refused", "none")),
        *({"links": links, "skip": "ignored", "refused": "filter"} for links in ("dead", "refused", "none")),
        *({"orders": "asc", "refused": refused} for refused in ("", "filter")),
    ],
    ids=_case_name,
)
@pytest.mark.parametrize("times", [FINE, ONE_SECOND], ids=["spread", "crowded"])
def test_a_scan_ends_as_the_argument_says(breach: dict[str, Any], times: dict[str, int]) -> None:
    """A window of the same server is closed with every referral where an argument holds, and not where none does."""
    told_of = answers(ProbedServer(times, **breach))[Question.ARGUMENT]
    server = ProbedServer(times, **(breach | {"moving": 0}))
    try:
        pages = list(scan(server, start=ORIGIN - SECOND, end=NOW - SECOND, not_before=NOW))
    except (ScanIncomplete, ApiRefused, ForeignHost):
        is_complete = False
    else:
        is_complete = True
        assert {version.referral_id for page in pages for version in page.versions} == set(times)
    if told_of.verdict is FAILS:
        assert not is_complete
    elif told_of.verdict is not OPEN and "where a page holds all" not in told_of.found:
        assert is_complete, told_of


# The rule

GOOD = {
    Question.FILTER: DOCUMENTED,
    Question.PRECISION: DOCUMENTED,
    Question.ASCENDING: DOCUMENTED,
    Question.DESCENDING: DOCUMENTED,
    Question.FOLLOWED: DOCUMENTED,
    Question.SKIP: DOCUMENTED,
    Question.END: DOCUMENTED,
}
FILTER, ASCENDING, DESCENDING = Question.FILTER, Question.ASCENDING, Question.DESCENDING
FOLLOWED, SKIP, END = Question.FOLLOWED, Question.SKIP, Question.END


@pytest.mark.parametrize(
    ("changed", "verdict", "found"),
    [
        ({}, DOCUMENTED, "keyset"),
        ({Question.PRECISION: DIFFERS}, DOCUMENTED, "keyset"),
        ({Question.PRECISION: OPEN}, DOCUMENTED, "keyset"),
        ({FILTER: DIFFERS}, DOCUMENTED, "keyset"),
        ({FILTER: OPEN}, OPEN, "keyset"),
        ({ASCENDING: OPEN}, OPEN, "keyset"),
        ({DESCENDING: REFUSED}, DIFFERS, "keyset"),
        ({DESCENDING: DIFFERS}, DIFFERS, "keyset"),
        ({FOLLOWED: DIFFERS}, DOCUMENTED, "keyset"),
        ({FOLLOWED: DIFFERS, SKIP: REFUSED}, DIFFERS, "keyset"),
        ({FOLLOWED: REFUSED, SKIP: DIFFERS}, DIFFERS, "keyset"),
        ({FOLLOWED: FAILS}, DIFFERS, "keyset"),
        ({FOLLOWED: OPEN, END: DIFFERS}, DOCUMENTED, "keyset"),
        ({FOLLOWED: OPEN, END: FAILS}, DIFFERS, "keyset"),
        ({FOLLOWED: OPEN, SKIP: REFUSED, END: OPEN}, DOCUMENTED, "keyset"),
        ({FILTER: REFUSED}, DIFFERS, "unfiltered"),
        ({FILTER: FAILS}, DIFFERS, "unfiltered"),
        ({ASCENDING: DIFFERS}, DIFFERS, "unfiltered"),
        ({FILTER: FAILS, DESCENDING: OPEN}, OPEN, "unfiltered"),
        ({FILTER: FAILS, FOLLOWED: OPEN, SKIP: OPEN, END: OPEN}, OPEN, "unfiltered"),
        ({FILTER: FAILS, FOLLOWED: OPEN, SKIP: REFUSED, END: OPEN}, OPEN, "unfiltered"),
        ({FILTER: FAILS, FOLLOWED: DIFFERS}, DIFFERS, "unfiltered"),
        ({FILTER: FAILS, FOLLOWED: DIFFERS, SKIP: OPEN}, OPEN, "unfiltered"),
        ({FILTER: FAILS, FOLLOWED: DIFFERS, SKIP: REFUSED}, FAILS, "none"),
        ({FILTER: FAILS, FOLLOWED: FAILS}, FAILS, "none"),
        ({FILTER: FAILS, END: FAILS}, FAILS, "none"),
        ({FILTER: REFUSED, DESCENDING: REFUSED}, FAILS, "none"),
        ({FILTER: REFUSED, DESCENDING: DIFFERS}, FAILS, "none"),
        ({ASCENDING: DIFFERS, DESCENDING: DIFFERS}, FAILS, "none"),
        ({ASCENDING: REFUSED}, FAILS, "none"),
        ({FILTER: REFUSED, ASCENDING: REFUSED}, FAILS, "none"),
    ],
    ids=lambda value: str({k.name: v.name for k, v in value.items()}) if isinstance(value, dict) else None,
)
def test_the_argument_follows_from_the_verdicts(changed: dict[Question, Verdict], verdict: Verdict, found: str) -> None:
    answer = argument(GOOD | changed)
    assert (answer.subject, answer.verdict) == (Question.ARGUMENT, verdict)
    assert answer.found.startswith(found)
    assert answer.consequence
    assert verdict is not FAILS or "support" in answer.consequence


def test_without_any_answer_nothing_is_claimed() -> None:
    assert argument({}).verdict is OPEN
