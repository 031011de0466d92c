"""Whatever Partner Center, the network, the clocks and crashes do: nothing is lost, and nothing is claimed too early.

The state machine tests the argument of `partner_center.scan` and the promises of windows.md, "What a window
promises": referrals are created, updated, closed, spoilt and repaired, also between two pages of a scan; windows are
fetched in any order, alone and in ranges; connections break, tokens expire, pages contradict each other, the server
compares instants coarsely, passes over what is asked, or shows the account less for a while, another run takes over and
processes are killed.

What holds after every step: a window that claims to be complete has each of its referrals in the warehouse or in
quarantine; a fetch without trouble stores exactly what was not stored before, so a replay stores nothing; an attempt
that ended says how. What holds at the end: one clean catch-up covers everything from the beginning without a gap, and
the leads are the server's referrals.

No window can find what was hidden from the account while it was read, or what has no date or one in the future. The
weekly comparison, which runs in between and at the end, must have brought it by then, and taken nothing that is shown
for vanished. Where lists show a row only some time after its date, one without a date or from the future is never
listed, so nothing is asked of it.

There are 200 examples. The environment variable HYPOTHESIS_STATEFUL asks for more: `night` for 800, `long` for 2,000 of
30 steps instead of 8. With `--hypothesis-profile=new` they are drawn anew, otherwise they are the same each time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from partner_center_pipeline.defs.derivation import Span, make_leads
from partner_center_pipeline.partner_center import PartnerCenterError, TooEarly, keyset_scan, unfiltered_scan
from partner_center_pipeline.partner_center.contract import read_referral
from partner_center_pipeline.referral import ReferralVersion, RejectedRow
from partner_center_pipeline.vocabulary import Asset, Task
from partner_center_pipeline.warehouse import ledger, pending
from partner_center_pipeline.warehouse.lease import Lease, LeaseLostError
from partner_center_pipeline.warehouse.schema import (
    AttemptState,
    leads,
    metadata,
    quarantined_referrals,
    raw_referrals,
    sync_attempts,
    sync_windows,
)
from partner_center_pipeline.windows import (
    BEGINNING,
    TICKS_PER_SECOND,
    SyncWindow,
    WindowGrid,
    catch_up,
    parse_ticks,
    render_ticks,
)
from partner_center_pipeline_tests.conftest import Databases
from partner_center_pipeline_tests.stateful.in_process import (
    OVERLAP,
    CrashingWarehouse,
    InProcessTransport,
    KilledError,
    SharedClock,
    client_of,
    compare,
    fetch,
    taken_lease,
)
from partner_center_pipeline_tests.storage import is_postgresql
from partner_center_simulator import HttpFault, Simulator
from partner_center_simulator.clock import SimulatorClock
from partner_center_simulator.faults import CorruptRow
from partner_center_simulator.odata import DateComparison
from partner_center_simulator.odata import DateLiteral as ApiLiteral

EXAMPLES, STEPS = {"": (50, 8), "night": (200, 8), "long": (500, 30)}[os.environ.get("HYPOTHESIS_STATEFUL", "")]
"""Of each of the four ways that a server may be."""

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
GRID = WindowGrid.of(START, 600, 120)
FIRST = GRID.first or 0
SECOND = TICKS_PER_SECOND
SMALLEST_CAP = 2
"""Rows of a page where the server limits pages to fewer than what is asked for."""


class Contradiction(StrEnum):
    """A switch of the simulator that makes pages contradict each other for a while."""

    LOOP = "next_link_loop"
    BACK = "next_link_back"
    DUPLICATE_ROWS = "duplicate_rows"
    DUPLICATE_PAGES = "duplicate_pages"
    REORDERED = "reordered_rows"
    OUT_OF_ORDER = "out_of_order_row"
    TOUCHED = "touch_between_pages"
    DEAD_LINK = "next_link_dead"
    SKIP_IGNORED = "skip_ignored"
    SKIP_REFUSED = "skip_refused"
    FILTER_IGNORED = "filter_ignored"
    ORDER_IGNORED = "orderby_ignored"


class Action(StrEnum):
    """What happens between two pages."""

    UPDATE = "update"
    CREATE = "create"
    END_CONTRADICTIONS = "end contradictions"
    """Switch all contradictions off."""
    HIDE = "hide"
    """The account does not see a referral any more, until the fetch is over."""
    OTHER_RUN = "other run"
    """Nothing is heard of this run for so long that another one takes over, and fetches what is due."""


class Sees(StrEnum):
    """What the account sees while a run reads."""

    ALL = "all"
    SOME = "some"
    """Every third referral is hidden."""
    OWN = "own"
    """As a Referral User: only those with its address in `team`."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong in one fetch. Numbers count requests or transactions from 0."""

    fault: HttpFault | None = None
    after: int = 0
    retry_after: int | None = None
    contradictions: frozenset[Contradiction] = frozenset()
    sees: Sees = Sees.ALL
    actions: tuple[tuple[int, Action, int], ...] = ()
    crash_in: int | None = None
    crash_before_commit: bool = False
    bad_tokens: int = 0
    corrupt: CorruptRow | None = None


class Event(StrEnum):
    """What happens at Partner Center."""

    CREATE = "create"
    UPDATE = "update"
    CLOSE = "close"
    SPOIL = "spoil"
    REPAIR = "repair"
    SURPRISE = "surprise"
    WAIT = "wait"
    SKEW = "skew"
    """This machine's clock is wrong, or right again."""
    LEARN = "learn"
    """The API accepts a filter on updatedDateTime."""
    FORGET = "forget"
    """The API does not accept it any more."""
    UNDATED = "undated"
    """A referral comes without `updatedDateTime`."""
    FUTURE = "future"
    """A referral comes that is dated in the year 2100."""


CLEAN = Trouble()
_WAITS = (5, 600, 37, 130, 250, 600, 1500)
_SKEWS = (0, 300, 45, 900, 0, -300)
_EVENTS = (Event.CREATE, Event.CREATE, Event.CREATE, Event.UPDATE, Event.WAIT, Event.WAIT, Event.WAIT, *Event)
Happenings = list[tuple[Event, int]]
_happenings = st.lists(st.tuples(st.sampled_from(_EVENTS), st.integers(0, 41)), max_size=8)
_sizes = st.integers(1, 4)
_FAULTS = (
    HttpFault.RESET, HttpFault.TRUNCATED, HttpFault.UNAVAILABLE_HTML, HttpFault.THROTTLED, HttpFault.SERVER_ERROR,
    HttpFault.HTML, HttpFault.SKIPTOKEN_EXPIRED, HttpFault.FORBIDDEN,
)  # fmt: skip
_actions = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from((Action.UPDATE, Action.UPDATE, *Action)), st.integers(0, 40)),
    max_size=4,
).map(tuple)
_pauses = st.sampled_from((None, 5, 9999))
troubles = st.one_of(
    st.just(CLEAN),
    st.builds(Trouble, actions=_actions),
    st.builds(Trouble, fault=st.sampled_from(_FAULTS), after=st.integers(0, 6), retry_after=_pauses, actions=_actions),
    st.builds(Trouble, crash_in=st.integers(0, 7), crash_before_commit=st.booleans(), actions=_actions),
    st.builds(
        Trouble,
        contradictions=st.sets(st.sampled_from(Contradiction), min_size=1, max_size=2).map(frozenset),
        actions=_actions,
    ),
    st.builds(Trouble, sees=st.sampled_from((Sees.SOME, Sees.OWN)), actions=_actions),
    st.builds(
        Trouble,
        bad_tokens=st.sampled_from((0, 1, 1, 2)),
        corrupt=st.none() | st.sampled_from(CorruptRow),
        actions=_actions,
    ),
)


class PartnerCenterPipeline(RuleBasedStateMachine):
    """The pipeline and what it copies. `db`, and how the API begins, are set by the test."""

    db: CrashingWarehouse
    refuses_filter = False
    offsets = False

    def __init__(self) -> None:
        super().__init__()
        with self.db.write() as connection:
            for table in metadata.sorted_tables:
                connection.execute(table.delete())
        self.microsoft = Simulator(3, START, 0, clock=SimulatorClock(START, frozen=True))
        self.clock = SharedClock(self.microsoft.clock)
        self.transport = InProcessTransport(self.microsoft)
        self.ids: list[str] = []
        self.unseen: set[str] = set()
        """Ids that a run could not see, which perhaps closed their window: the weekly comparison brings them."""
        self.runs = 0

    @initialize(
        old=st.lists(st.integers(-86_400, 0), max_size=4),
        takes=st.sampled_from((ApiLiteral.EITHER, ApiLiteral.BARE, ApiLiteral.QUOTED)),
        no_links=st.sampled_from((False, False, True)),
        cap=st.sampled_from((None, None, SMALLEST_CAP)),
        late=st.sampled_from((0, 0, 25, 300, 600)),
        date_skew=st.sampled_from((0, 0, 90, -90)),
        skew=st.sampled_from(_SKEWS),
        compares=st.sampled_from((DateComparison.EXACT, DateComparison.EXACT, *DateComparison)),
    )
    def begin(
        self,
        old: list[int],
        takes: ApiLiteral,
        no_links: bool,
        cap: int | None,
        late: int,
        date_skew: int,
        skew: int,
        compares: DateComparison,
    ) -> None:
        """Create some referrals from before the first window, and configure the API."""
        faults = self.microsoft.faults
        faults.date_literal = takes
        faults.filter_updated_refused = self.refuses_filter
        faults.offset_paging = self.offsets
        faults.next_link_missing = no_links
        faults.largest_page = cap
        faults.late_visible_seconds = late
        faults.date_skew_seconds = date_skew
        faults.compares = compares
        for seconds in old:
            self._create(FIRST + seconds * SECOND)
        self.clock.skew = skew
        self.microsoft.clock.advance(GRID.interval - 10)

    # Each rule lets things happen first: Hypothesis leaves some rules out of an example, and none must be idle.

    @rule(events=_happenings, size=_sizes, trouble=troubles)
    def sync_the_newest_window(self, events: Happenings, size: int, trouble: Trouble) -> None:
        """What the schedule does."""
        self._happen(events)
        self._fetch(self._due()[-1:], size, trouble)

    @rule(events=_happenings, which=st.integers(0, 5), size=_sizes, trouble=troubles)
    def sync_some_window(self, events: Happenings, which: int, size: int, trouble: Trouble) -> None:
        """What a person does: any window, in any order, again or for the first time."""
        self._happen(events)
        due = self._due()
        self._fetch(due[which % len(due) :][:1] if due else [], size, trouble)

    @rule(events=_happenings, which=st.integers(0, 3), count=st.integers(1, 9), size=_sizes, trouble=troubles)
    def backfill(self, events: Happenings, which: int, count: int, size: int, trouble: Trouble) -> None:
        """A range of windows in one scan."""
        self._happen(events)
        self._fetch(self._due()[which:][:count], size, trouble)

    @precondition(lambda self: self._done())
    @rule(which=st.integers(0, 20), again=st.booleans())
    def replay(self, which: int, again: bool) -> None:
        """Make the leads of a complete window twice, perhaps after fetching it again."""
        done = self._done()
        window = done[which % len(done)]
        if again:
            self._fetch([window], 3, CLEAN)
        self._make_leads([window])
        assert self._make_leads([window]) == 0

    @precondition(lambda self: self._done())
    @rule(events=_happenings, sees=st.sampled_from((Sees.ALL, Sees.ALL, *Sees)), size=_sizes)
    def reconcile(self, events: Happenings, sees: Sees, size: int) -> None:
        """The weekly comparison: it loads what no window found, and marks what is shown no more."""
        self._happen(events)
        self._compare(sees, size)

    def teardown(self) -> None:
        """After one clean catch-up the tables are the server's, from the beginning to now without a gap.

        What no window can find, because it has no date or one in the future or was hidden when its window was closed,
        is there after the weekly comparison.
        """
        faults = self.microsoft.faults
        self.clock.skew = faults.date_skew_seconds
        # Whatever becomes visible late does so within the next window's overlap.
        self.microsoft.clock.advance(timedelta(seconds=2 * GRID.interval + GRID.lag + 200))
        now = self.clock.utc()
        for start, end in catch_up(GRID, now, self._covered(Asset.RAW_REFERRALS, Asset.NORMALIZED_LEADS), []):
            windows = list(GRID.between(start, end))
            self._fetch(windows, 4, CLEAN)
            self._make_leads(windows)
        until = GRID.due_end(now)
        assert self._covered(Asset.RAW_REFERRALS, Asset.NORMALIZED_LEADS) == [(BEGINNING, until)]
        odd = [row for row in self.microsoft.world.all() if not _is_between(row, BEGINNING, until)]
        if odd or self.unseen:
            self._compare(Sees.ALL, 4)
            self._make_leads(list(GRID.between(FIRST, until))[-1:])
        with self.db.read() as connection:
            found = connection.execute(select(leads)).all()
            made = {row.referral_id: row.version for row in found}
            kept = set(connection.execute(select(quarantined_referrals.c.fingerprint)).scalars())
        assert [row.referral_id for row in found if row.vanished_at is not None] == []
        expected = {}
        for payload in self.microsoft.world.all():
            if payload in odd and faults.late_visible_seconds:
                continue  # this server shows nothing that is late in a list, so not these, ever
            row = read_referral(payload)
            if isinstance(row, RejectedRow):
                assert row.fingerprint in kept
            else:
                expected[row.referral_id] = row.version
        assert expected == {referral_id: made[referral_id] for referral_id in expected if referral_id in made}
        assert made.keys() <= set(self.ids)

    # Steps

    def _happen(self, events: Happenings) -> None:
        """Let referrals come and change, at different instants."""
        for event, number in events:
            match event:
                case Event.CREATE:  # all at one instant
                    now = self._now()
                    for _ in range(number % 7):
                        self._create(now)
                case Event.UPDATE:
                    self._change(number, {"details/dealValue": float(number)})
                case Event.CLOSE:
                    self._change(number, {"status": "Closed", "substatus": "Won"})
                case Event.SPOIL:  # breaks the contract
                    self._change(number, {"customerProfile/name": "Bro\x00ken"})
                case Event.REPAIR:
                    self._change(number, {"customerProfile/name": "Fine"})
                case Event.SURPRISE:  # what no document names
                    self._change(number, {"forecastCategory": {"id": "fc-1"}, "status": "Paused"})
                case Event.WAIT:
                    self.microsoft.clock.advance(_WAITS[number % len(_WAITS)])
                case Event.SKEW:
                    self.clock.skew = _SKEWS[number % len(_SKEWS)]
                case Event.UNDATED:
                    self._create(self._now(), {"updatedDateTime": None})
                case Event.FUTURE:
                    self._create(self._now(), {"updatedDateTime": f"2100-01-01T00:00:{number:02}Z"})
                case Event.LEARN | Event.FORGET:
                    self.microsoft.faults.filter_updated_refused = event is Event.FORGET

    def _fetch(self, windows: list[SyncWindow], size: int, trouble: Trouble) -> None:
        if not windows:
            return
        faults = self.microsoft.faults
        if trouble.fault is not None:
            faults.plan(trouble.fault, after=trouble.after, retry_after=trouble.retry_after)
        for contradiction in trouble.contradictions:
            setattr(faults, contradiction, True)
        self._see(trouble.sees)
        if trouble.corrupt is not None:
            faults.corrupt_rows = frozenset({trouble.corrupt})
        first_request = self.transport.requests

        def do(number: int) -> None:
            for when, action, which in trouble.actions:
                if when == number - first_request:
                    self._do(action, which)

        self.transport.before = do
        self.db.crash_in, self.db.crash_before_commit = trouble.crash_in, trouble.crash_before_commit
        before = self._stored()
        self.runs += 1
        run_id = f"run-{self.runs}"
        client = client_of(self.microsoft, self.transport, self.clock, self.db, size, trouble.bad_tokens)
        try:
            with self._leased(run_id, trouble) as lease:
                ingest = fetch(self.db, client, GRID, windows, run_id, lease)
        except LeaseLostError:
            self._check_states(run_id, set(AttemptState) - {AttemptState.RUNNING})
        except PartnerCenterError as error:
            self._check_states(run_id, set(AttemptState) - {AttemptState.RUNNING})
            if trouble == CLEAN and not isinstance(error, TooEarly):  # the server's clock may be behind
                raise
        except KilledError:
            pass
        else:
            self._check_states(run_id, {AttemptState.COMPLETE, AttemptState.EMPTY})
            if trouble == CLEAN:
                first, end = ingest.windows[0], ingest.windows[-1].end
                overlap = (ingest.overlap_seconds or 0) * SECOND
                assert overlap >= OVERLAP  # wider after a version that came late
                low = BEGINNING if first.is_genesis else first.covers_from - overlap
                low = max(low, ingest.resume_from or low)
                assert self._stored() - before == self._shown(low, end) - before
                assert ingest.total().new_versions == len(self._stored() - before)
        finally:
            self.db.crash_in = None
            self.transport.before = lambda _: None
            self._end_contradictions()
            self._see(Sees.ALL)
            for _ in range(trouble.after + 1):  # remove planned faults that were not used
                faults.next_http(has_skiptoken=True)
        self._check_complete_windows()

    def _make_leads(self, windows: list[SyncWindow]) -> int:
        """Do what the asset normalized_leads does; return the number of rows that are new or changed."""
        now = self.clock.utc()
        with self.db.read() as connection:
            known = ledger.require(connection, windows, Asset.RAW_REFERRALS)
        made = make_leads(self.db, Span(known[0].covers_from, known[-1].end), frozenset(), now)
        with self.db.write() as connection:
            ledger.mark(connection, windows, Asset.NORMALIZED_LEADS, now)
            assert pending.load(connection, Task.LEADS).items == []
        return made.written.rows

    def _compare(self, sees: Sees, size: int) -> None:
        self.runs += 1
        self._see(sees)
        hidden, unlisted, before = self._hidden(), self._unlisted(), self._marked()
        client = client_of(self.microsoft, self.transport, self.clock, self.db, size)
        try:
            compare(self.db, client, self.clock, GRID, f"run-{self.runs}")
        except TooEarly:
            return
        finally:
            self._see(Sees.ALL)
        self.unseen &= hidden
        marked = self._marked()
        assert marked - before <= hidden
        assert marked & before <= hidden | unlisted  # a mark stays until a list shows the referral again
        self._check_complete_windows()

    def _marked(self) -> set[str]:
        """The referrals whose lead is marked as vanished."""
        with self.db.read() as connection:
            rows = connection.execute(select(leads.c.referral_id).where(leads.c.vanished_at.is_not(None)))
            return set(rows.scalars())

    def _unlisted(self) -> set[str]:
        """The referrals that lists do not show yet, as they changed a moment ago, or never, without a date."""
        if not self.microsoft.faults.late_visible_seconds:
            return set()
        listed = {referral_id for referral_id, _ in self._shown(BEGINNING, self.microsoft.clock.ticks())}
        return set(self.ids) - listed

    @contextmanager
    def _leased(self, run_id: str, trouble: Trouble) -> Iterator[Lease | None]:
        """Hold the lease where another run may come in between."""
        if not any(action is Action.OTHER_RUN for _, action, _ in trouble.actions):
            yield None
            return
        lease = taken_lease(self.db, self.clock, run_id)
        killed = False
        try:
            yield lease
        except KilledError:
            killed = True
            raise
        finally:
            if not killed:
                self.db.crash_in = None
                lease.release()

    def _fetch_as_another_run(self) -> None:
        """Take over from the run that is fetching."""
        before, self.transport.before = self.transport.before, lambda _: None
        self.runs += 1
        try:
            with self._leased(f"run-{self.runs}", Trouble(actions=((0, Action.OTHER_RUN, 0),))) as lease:
                client = client_of(self.microsoft, self.transport, self.clock, self.db, 3)
                fetch(self.db, client, GRID, self._due(), f"run-{self.runs}", lease)
        except PartnerCenterError:
            pass
        finally:
            self.transport.before = before

    def _see(self, sees: Sees) -> None:
        """Let the account see so much from now on."""
        faults = self.microsoft.faults
        faults.hidden_referrals = frozenset(self.ids[::3] if sees is Sees.SOME else ())
        faults.referral_user = sees is Sees.OWN
        self.unseen |= self._hidden()

    def _hidden(self) -> set[str]:
        faults = self.microsoft.faults
        return set(self.ids) if faults.referral_user else set(faults.hidden_referrals)

    def _end_contradictions(self) -> None:
        for contradiction in Contradiction:
            setattr(self.microsoft.faults, contradiction, False)
        self.microsoft.faults.corrupt_rows = frozenset()

    def _do(self, action: Action, which: int) -> None:
        match action:
            case Action.UPDATE:
                self._change(which, {"details/dealValue": float(which)})
            case Action.CREATE:
                self._create(self._now())
            case Action.HIDE if self.ids:
                self.microsoft.faults.hidden_referrals |= {self.ids[which % len(self.ids)]}
                self.unseen |= self._hidden()
            case Action.OTHER_RUN:
                self._fetch_as_another_run()
            case Action.END_CONTRADICTIONS:
                self._end_contradictions()

    def _now(self) -> int:
        """The server's time, never the same twice."""
        self.microsoft.clock.advance(timedelta(microseconds=1))
        return self.microsoft.clock.ticks()

    def _create(self, at: int, changes: dict[str, Any] | None = None) -> None:
        self.ids.append(self.microsoft.world.create(at, changes)["id"])

    def _change(self, which: int, changes: dict[str, Any]) -> None:
        if self.ids:
            self.microsoft.world.change(self.ids[which % len(self.ids)], self._now(), changes)

    # State

    def _due(self) -> list[SyncWindow]:
        last = GRID.last_due(self.clock.utc())
        return [] if last is None else list(GRID.between(FIRST, last.end))

    def _done(self) -> list[SyncWindow]:
        """The windows that claim to be complete."""
        with self.db.read() as connection:
            rows = connection.execute(select(sync_windows).where(sync_windows.c.raw_referrals_at.is_not(None)))
            return [SyncWindow(row.window_start, row.window_end, row.covers_from) for row in rows]

    def _covered(self, *assets: Asset) -> list[tuple[int, int]]:
        with self.db.read() as connection:
            return ledger.covered(connection, assets)

    def _stored(self) -> set[tuple[str, str]]:
        with self.db.read() as connection:
            rows = connection.execute(select(raw_referrals.c.referral_id, raw_referrals.c.version))
            return {(row.referral_id, row.version) for row in rows}

    def _server(self) -> Iterator[ReferralVersion | RejectedRow]:
        return map(read_referral, self.microsoft.world.all())

    def _shown(self, low: int, end: int) -> set[tuple[str, str]]:
        """The versions that the API's lists show now of an interval."""
        until = min(end, self.microsoft.clock.ticks() - int(self.microsoft.faults.late_visible_seconds) * SECOND + 1)
        return {
            (row.referral_id, row.version)
            for row in self._server()
            if isinstance(row, ReferralVersion) and low <= row.updated_ticks < until
        }

    def _check_complete_windows(self) -> None:
        faults = self.microsoft.faults
        if faults.late_visible_seconds + faults.date_skew_seconds > GRID.lag:
            return  # later than the lag covers: the next window's overlap brings it, see `teardown`
        stored, covered = self._stored(), self._covered(Asset.RAW_REFERRALS)
        with self.db.read() as connection:
            kept = set(connection.execute(select(quarantined_referrals.c.fingerprint)).scalars())
        for payload in self.microsoft.world.all():
            row = read_referral(payload)
            updated = payload["updatedDateTime"]
            if any(_is_between(payload, low, high) for low, high in covered) and payload["id"] not in self.unseen:
                known = (
                    (row.referral_id, row.version) in stored
                    if isinstance(row, ReferralVersion)
                    else row.fingerprint in kept
                )
                assert known, f"{updated} is covered by {[(_text(low), _text(high)) for low, high in covered]}"

    def _check_states(self, run_id: str, allowed: set[AttemptState]) -> None:
        with self.db.read() as connection:
            states = set(
                connection.execute(select(sync_attempts.c.state).where(sync_attempts.c.run_id == run_id)).scalars()
            )
        assert states <= allowed, states


def _is_between(payload: dict[str, Any], low: int, high: int) -> bool:
    updated = payload["updatedDateTime"]
    return updated is not None and low <= parse_ticks(updated) < high


def _text(ticks: int) -> str:
    return "the beginning" if ticks == BEGINNING else render_ticks(ticks)


@pytest.fixture
def db(request: pytest.FixtureRequest) -> Iterator[CrashingWarehouse]:
    databases: Databases = request.getfixturevalue("postgres" if is_postgresql() else "sqlite")
    opened = CrashingWarehouse(databases.migrated())
    yield opened
    opened.close()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("offsets", [False, True], ids=["tokens", "offsets"])
@pytest.mark.parametrize("refuses_filter", [False, True], ids=["filter", "no-filter"])
def test_nothing_is_lost(
    db: CrashingWarehouse, refuses_filter: bool, offsets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`Contradiction` and `Trouble` say what may happen; the module's docstring says what must hold."""
    for way in (keyset_scan, unfiltered_scan):  # pages are as much smaller here as their smallest limit
        monkeypatch.setattr(way, "SMALLEST_LIMIT", SMALLEST_CAP)
    machine = type(
        "PartnerCenterPipeline",
        (PartnerCenterPipeline,),
        {"db": db, "refuses_filter": refuses_filter, "offsets": offsets},
    )
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=EXAMPLES,
            phases=[Phase.generate, Phase.shrink],  # explaining a failure traces every line: ten times slower
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )
