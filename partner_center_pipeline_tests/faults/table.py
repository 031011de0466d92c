"""Every fault by name: how it is caused, and what is run under it.

Not here: what a fault may change in a pipeline (`bench`).
"""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import trustme
from filelock import FileLock
from sqlalchemy import insert, select, text

from partner_center_pipeline.cli.one_fetch import AnotherRunFetches, wait_for_turn
from partner_center_pipeline.defs import window_fetch
from partner_center_pipeline.defs.recovery import end_dead_runs
from partner_center_pipeline.partner_center import PartnerCenterError, http
from partner_center_pipeline.referral import ScanPage
from partner_center_pipeline.warehouse import breaker, lease, locks, quarantine, schema
from partner_center_pipeline.warehouse.lease import FETCH
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline.windows import REFUSALS_BEFORE_HALVING, parse_ticks, render_ticks
from partner_center_pipeline_tests.alerts.companies import rules_of_p1
from partner_center_pipeline_tests.faults.bench import PAGE_SIZE, Bench
from partner_center_simulator import CorruptRow, DnsFault, HttpFault, TokenFault
from partner_center_simulator.faults import DateHeader, IdsShape
from partner_center_simulator.odata import DateComparison, DateLiteral

Act = Callable[[Bench], str]
"""Cause the fault, do what a person or the schedule does, and return what is seen."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of the table. `how` says what goes wrong."""

    name: str
    how: str
    act: Act


_MANY: Final = 10_000


def _http(fault: HttpFault, *, lasting: bool = False, **plan: Any) -> Act:
    def act(bench: Bench) -> str:
        if lasting:
            bench.shorten_timeouts()
        bench.faults.plan(fault, **{"times": _MANY if lasting else 1, **plan})
        return bench.run()

    return act


def _switched(lasting: bool = False, **switches: Any) -> Act:
    def act(bench: Bench) -> str:
        if lasting:
            bench.shorten_timeouts()
        for name, value in switches.items():
            assert hasattr(bench.faults, name), name
            setattr(bench.faults, name, value)
        return bench.run()

    return act


def _renewal(fault: TokenFault, *, times: int = _MANY, number: int | None = None) -> Act:
    """The token is refused once, and the sign-in service does not renew it."""

    def act(bench: Bench) -> str:
        bench.shorten_timeouts()
        bench.faults.plan(HttpFault.UNAUTHORIZED, times=times)
        bench.faults.plan_token(fault, times=times, number=number)
        return bench.run()

    return act


def _login(fault: TokenFault) -> Act:
    def act(bench: Bench) -> str:
        bench.faults.plan_token(fault)
        return _said_by(bench.sign_in)

    return act


def _said_by(command: Callable[[], str]) -> str:
    try:
        return command()
    except PartnerCenterError as error:
        return str(error)


def _with_env(**variables: str) -> Act:
    def act(bench: Bench) -> str:
        bench.shorten_timeouts()
        bench.project.edit_env(**variables)
        return bench.run()

    return act


# Bench acts that need more than a switch ------------------------------------------------------------------------------


def _renewal_refused(switch: str) -> Act:
    def act(bench: Bench) -> str:
        setattr(bench.faults, switch, True)
        bench.faults.plan(HttpFault.UNAUTHORIZED)
        return bench.run()

    return act


def _shown_less(**switches: Any) -> Act:
    """Microsoft answers with fewer rows and no error: only a person who knows can tell."""

    def act(bench: Bench) -> str:
        bench.person_acted = True  # in `recover`, which runs the window again
        said = _switched(**switches)(bench)
        return f"{said} Fewer referrals, which no answer tells; with the right role, run the windows again."

    return act


def _large_answer(bench: Bench) -> str:
    bench.patch.setattr(http, "LARGEST_ANSWER", 2_000)
    return bench.run()


def _sign_in_drips(bench: Bench) -> str:
    bench.shorten_timeouts()
    bench.faults.plan(HttpFault.UNAUTHORIZED)
    bench.faults.drip_sign_in_bytes_per_second = 5.0
    return bench.run()


def _short_lived(bench: Bench) -> str:
    bench.faults.token_lifetime_seconds = 301
    bench.faults.plan(HttpFault.UNAUTHORIZED)
    return bench.run()


def _not_signed_in(bench: Bench) -> str:
    (bench.home / ".token_cache").rename(bench.home / "elsewhere")
    said = bench.run()
    shutil.rmtree(bench.home / ".token_cache", ignore_errors=True)
    bench.person_acted = True
    (bench.home / "elsewhere").rename(bench.home / ".token_cache")
    return said


def _cache_changed(name: str, change: Callable[[Path], None]) -> Act:
    def act(bench: Bench) -> str:
        path = bench.home / ".token_cache" / name
        kept, mode = path.read_bytes(), path.stat().st_mode
        change(path)
        said = bench.run()
        bench.person_acted = (path.read_bytes(), path.stat().st_mode) != (kept, mode)
        path.write_bytes(kept)
        path.chmod(mode)
        return said

    return act


def _cache_locked(bench: Bench) -> str:
    bench.shorten_timeouts()
    bench.faults.plan(HttpFault.UNAUTHORIZED)
    with FileLock(bench.home / ".token_cache/sign_in.lock"):
        return bench.run()


def _too_early(bench: Bench) -> str:
    bench.shorten_timeouts()
    bench.microsoft.clock.advance(timedelta(minutes=-30))
    return bench.run(bench.project.last_due(), "raw_referrals")


def _ahead(bench: Bench) -> str:
    bench.microsoft.clock.advance(timedelta(minutes=5))
    return bench.run()


def _unreachable(bench: Bench) -> str:
    bench.shorten_timeouts()
    bench.microsoft.stop()
    try:
        return bench.run()
    finally:
        bench.microsoft.start()


def _untrusted(bench: Bench) -> str:
    other = bench.home / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    bench.project.edit_env(HUNTER_PARTNER_CENTER_CA_BUNDLE=str(other))
    return bench.run()


def _locked(bench: Bench) -> str:
    with closing(sqlite3.connect(bench.home / ".hunter/hunter.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        said = bench.run()
        other.execute("ROLLBACK")
    return said


def _read_only(bench: Bench) -> str:
    with bench.each_connection("query_only=ON"):
        return bench.run()


def _full(bench: Bench) -> str:
    with closing(sqlite3.connect(bench.home / ".hunter/hunter.db")) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
    with bench.each_connection(f"max_page_count={pages + 8}"):
        return bench.run()


def _refused_row(table: str) -> Act:
    def act(bench: Bench) -> str:
        with bench.project.warehouse.write() as connection:
            connection.execute(
                text(f"CREATE TRIGGER refuse BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END")
            )
        said = bench.run()
        with bench.project.warehouse.write() as connection:
            connection.execute(text("DROP TRIGGER refuse"))
        return said

    return act


def _newer_schema(bench: Bench) -> str:
    def set_version(value: str) -> None:
        with closing(sqlite3.connect(bench.home / ".hunter/hunter.db")) as connection, connection:
            connection.execute(f"UPDATE {schema.VERSION_TABLE} SET version_num = ?", (value,))

    with closing(sqlite3.connect(bench.home / ".hunter/hunter.db")) as connection:
        (version,) = connection.execute(f"SELECT version_num FROM {schema.VERSION_TABLE}").fetchone()
    set_version("9999")
    said = bench.run()
    set_version(version)
    return said


def _lease_held(bench: Bench) -> str:
    return _while_another_run_fetches(bench, bench.run)


def _second_command(bench: Bench) -> str:
    """What `partner-center sync` asks before its run begins."""

    def ask() -> str:
        try:
            wait_for_turn(bench.project.instance, bench.project.warehouse, "second", 1.0, with_slot=False)
        except AnotherRunFetches as busy:
            return re.sub(r":\d\d UTC \(\d+ s\)", " UTC", busy.message)
        return "no word of the other run"

    return _while_another_run_fetches(bench, ask)


def _while_another_run_fetches(bench: Bench, run: Callable[[], str]) -> str:
    bench.wait_for_no_lease()
    now = datetime.now(UTC)
    held = {"name": FETCH, "holder": "another-run", "acquired_at": now, "expires_at": now + timedelta(seconds=40)}
    with bench.project.warehouse.write() as connection:
        connection.execute(insert(schema.leases).values(held))
    said = run()
    with bench.project.warehouse.write() as connection:
        connection.execute(schema.leases.delete())
    return said


def _left_from_next_month(bench: Bench) -> str:
    """What a run left behind whose machine's clock was a month ahead: its lease, a pause, an attempt."""
    future = datetime.now(UTC) + timedelta(days=30)
    bench.project.mark_failed(bench.project.window(0))
    with bench.project.warehouse.write() as connection:
        connection.execute(
            insert(schema.leases).values(name=FETCH, holder="gone", acquired_at=future, expires_at=future)
        )
        connection.execute(
            insert(schema.breakers).values(
                name=breaker.NAME, failures=breaker.FAILURES, reason="refused", open_until=future
            )
        )
        connection.execute(schema.sync_attempts.update().values(started_at=future))
    assert not isinstance(bench.project.tick_sensor(), str)
    return bench.run()


def _last_windows_too_early(bench: Bench) -> str:
    bench.shorten_timeouts()
    bench.patch.setattr(window_fetch, "_deadline", lambda *_: 60.0)
    bench.microsoft.clock.advance(timedelta(minutes=-25))
    last = bench.project.last_due()
    said = bench.shown(bench.project.run(bench.project.window(0), last), last)
    return re.sub(r"\d of \d+ windows", "<n> of <m> windows", said)


def _machine_behind(bench: Bench) -> str:
    bench.microsoft.clock.advance(timedelta(seconds=300))
    last = bench.project.last_due()
    return bench.shown(bench.project.run(bench.project.window(0), last), last)


def _locked_for_a_while(bench: Bench) -> str:
    """A lock that lasts longer than a lease and than the silence of a dead run, all made 15 to 20 times as short."""
    bench.patch.setattr(locks, "BUSY_SECONDS", 30)
    for name, seconds in (
        ("LEASE_SECONDS", 2.0),
        ("BEAT_SECONDS", 0.5),
        ("SILENT_SECONDS", 2.0),
        ("DOUBT_SECONDS", 1.0),
    ):
        bench.patch.setattr(lease, name, seconds)
    bench.faults.slow_seconds = 0.3
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None); time.sleep(0.7);"
        "c.execute('BEGIN IMMEDIATE'); time.sleep(4); c.execute('ROLLBACK')"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(bench.home / ".hunter/hunter.db")]):
        said = bench.run()
    assert end_dead_runs(bench.project.instance, bench.project.warehouse, lambda: datetime.now(UTC)) == []
    return said


def _breaker_open(bench: Bench) -> str:
    bench.faults.role_missing = True
    for _ in range(breaker.FAILURES):
        bench.run()
    said = bench.project.tick_sensor()
    assert isinstance(said, str)
    return f"The sensor skips: {said}"


def _killed(bench: Bench) -> str:
    """A child that kills itself after the second page, as `crash` does at each of its points."""
    import multiprocessing

    from partner_center_pipeline_tests.crash import child
    from partner_center_pipeline_tests.crash.child import Place

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([child.__name__])
    variables = {**bench.project.variables, "HUNTER_DATABASE_URL": "sqlite:///.hunter/hunter.db"}
    process = context.Process(target=child.work, args=(Place(bench.home, variables), "page 2: committed"))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert bench.run().startswith("Nothing")
    (state, said), *_ = bench.project.attempts(bench.project.window(0))
    return f"The attempt is `{state}`: {said}. The next run goes on from the last page that was committed."


def _bad_rules(bench: Bench) -> str:
    bench.project.edit_env(HUNTER_SCORING_RULES=str(bench.home / "rules.toml"))
    (bench.home / "rules.toml").write_text("this is no table", encoding="utf-8")
    return bench.run()


def _future(bench: Bench) -> str:
    first, grid = bench.project.window(0), bench.project.grid
    return bench.shown(bench.project.run(first, grid.window(bench.project.last_due().end + 2 * grid.width)), first)


def _dated(updated: str | None) -> Act:
    """A referral whose date no window asks for: the comparison finds it."""

    def act(bench: Bench) -> str:
        assert bench.run().startswith("Nothing")
        with bench.created(updated):
            return bench.reconcile()

    return act


def _proven(**switches: Any) -> Act:
    """The fault; a run that ends well has every row."""
    act = _switched(**switches)

    def proven(bench: Bench) -> str:
        said = act(bench)
        assert not said.startswith("Nothing") or bench.not_stored() == 0, "the window was closed without its rows"
        return said

    return proven


def _fine(**switches: Any) -> Act:
    """The fault, with a page and a half of referrals around the halves of milliseconds."""

    def act(bench: Bench) -> str:
        world, start = bench.microsoft.world, bench.project.window(0).start + 1_200_000_000
        instants = [start + 10_000 * (number // 3) + 4_990 + 5 * (number % 3) for number in range(15)]
        there = {row["updatedDateTime"] for row in world.all()}
        for at in instants:
            if render_ticks(at) not in there:  # of the fault before
                world.create(at)
        return _proven(**switches)(bench)

    return act


def _without_a_way_on(**switches: Any) -> Act:
    """Pages of at most PAGE_SIZE rows without a link, while more share an instant: the window must not be closed."""

    def act(bench: Bench) -> str:
        said = _proven(largest_page=PAGE_SIZE, **switches)(bench)
        ((state, _),) = bench.project.attempts(bench.project.window(0))
        return f"The attempt is `{state}`: {said}"

    return act


def _tomorrow(bench: Bench) -> str:
    return _dated(f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}")(bench)


def _compared(**switches: Any) -> Act:
    """All is synced; then the fault, and the weekly comparison."""

    def act(bench: Bench) -> str:
        assert bench.run().startswith("Nothing")
        for name, value in switches.items():
            setattr(bench.faults, name, value)
        return bench.reconcile()

    return act


def _some_ids(bench: Bench) -> frozenset[str]:
    with bench.project.warehouse.read() as connection:
        return frozenset(connection.execute(select(schema.leads.c.referral_id).limit(3)).scalars())


def _vanished(bench: Bench) -> str:
    assert bench.run().startswith("Nothing")
    bench.faults.hidden_referrals = _some_ids(bench)
    return bench.reconcile()


def _back(bench: Bench) -> str:
    _vanished(bench)
    bench.faults.hidden_referrals = frozenset()
    return bench.reconcile()


def _signs_in_as_another(bench: Bench) -> str:
    assert bench.run().startswith("Nothing")
    cache = bench.home / ".token_cache"
    shutil.copytree(cache, bench.home / "before")
    bench.faults.another_account = True
    bench.sign_in()
    said = bench.run()
    shutil.rmtree(cache)
    bench.person_acted = True
    (bench.home / "before").rename(cache)
    return said


def _another_tenant(bench: Bench) -> str:
    assert bench.run().startswith("Nothing")
    bench.project.edit_env(HUNTER_PARTNER_CENTER_TENANT_ID="another.example")
    return bench.run()


def _another_api(bench: Bench) -> str:
    assert bench.run().startswith("Nothing")
    bench.project.edit_env(HUNTER_PARTNER_CENTER_BASE_URL="https://api.partner.microsoft.com")
    return bench.run()


def _late(bench: Bench) -> str:
    """A version that lists show only when its window is closed, near the edge of the overlap."""
    assert bench.run().startswith("Nothing")
    first, second, third = (bench.project.window(number) for number in (1, 2, 3))
    assert bench.run(first).startswith("Nothing")
    bench.microsoft.world.create(first.start)
    assert bench.run(second).startswith("Nothing")
    outcome = bench.project.run(third)
    overlap = outcome.metadata["raw_referrals", third.key]["overlap_seconds"]
    return f"{bench.shown(outcome, third)} The overlap is {overlap} s instead of 900 for a week."


def _reversed(bench: Bench) -> str:
    window = bench.project.window(0)
    return bench.shown(bench.project.run(bench.project.window(3), window), window)


def _resolver_gone(bench: Bench) -> str:
    bench.project.edit_env(HUNTER_DNS_RESOLVERS="127.0.0.1:9")
    return bench.run()


def _poisoned(status: int, *, in_a_tie: bool = False, count: int = 1, **switches: Any) -> Act:
    """The server cannot print some rows of the first window; `in_a_tie`: among those of one instant."""

    def act(bench: Bench) -> str:
        by_instant: dict[str, list[str]] = {}
        first = bench.project.window(0)
        for row in bench.microsoft.world.all():
            if parse_ticks(row["updatedDateTime"]) < first.end:
                by_instant.setdefault(row["updatedDateTime"], []).append(row["id"])
        ids = [each for at in sorted(by_instant) for each in by_instant[at] if (len(by_instant[at]) > 9) is in_a_tie]
        bench.faults.poisoned_rows = frozenset(ids[3 : 3 + count])
        bench.faults.poison_status = status
        return _switched(**switches)(bench)

    return act


def _asked_to_wait(bench: Bench) -> str:
    bench.shorten_timeouts()
    bench.faults.plan(HttpFault.THROTTLED, times=_MANY, retry_after=86_400)
    bench.run()
    said = bench.project.tick_sensor()
    assert isinstance(said, str)
    return f"The sensor skips at once: {said}"


def _switched_off(bench: Bench) -> str:
    write = WindowIngest.write

    def write_and_switch_off(ingest: WindowIngest, page: ScanPage) -> None:
        write(ingest, page)
        bench.project.edit_env(HUNTER_PARTNER_CENTER_ENABLED="false")

    bench.patch.setattr(window_fetch, "GATE_SECONDS", 0.0)
    bench.patch.setattr(WindowIngest, "write", write_and_switch_off)
    said = bench.run()
    ((state, _),) = bench.project.attempts(bench.project.window(0))
    return f"The attempt is `{state}`, what was stored is kept: {said}"


def _refused_repeatedly(bench: Bench) -> str:
    windows = [bench.project.window(number) for number in range(4)]
    for number in range(REFUSALS_BEFORE_HALVING):
        bench.project.mark_refused(windows, f"try {number}")
    bench.project.set_attempts_back(timedelta(hours=2))
    bench.project.mark_done((bench.project.window(4), bench.project.last_due()))
    asked = bench.project.tick_sensor()
    assert isinstance(asked, list)
    assert [first for first, _ in asked] == [windows[0].key, windows[2].key]
    return f"The sensor requests the {len(windows)} windows in {len(asked)} runs."


def _with_a_broken_row(then: Callable[[Bench], str]) -> Act:
    def act(bench: Bench) -> str:
        bench.faults.corrupt_rows = frozenset({CorruptRow.NO_ID})
        bench.run()
        return then(bench)

    return act


def _discarded(bench: Bench) -> str:
    with bench.project.warehouse.write() as connection:
        names = [row.fingerprint for row in quarantine.load(connection)]
        quarantine.discard(connection, names, "a person", "tests of Microsoft's own", datetime.now(UTC))
    bench.run()
    with bench.project.warehouse.read() as connection:
        assert quarantine.counts(connection) == {}
        gone = quarantine.load(connection, resolved=True)
    assert {row.attempts for row in gone} == {2}
    return "Nothing: it came again, and stays discarded; `partner-center quarantine list --resolved` shows by whom."


def _came_clean(bench: Bench) -> str:
    first = bench.project.window(0)
    row = next(row for row in bench.microsoft.world.all() if parse_ticks(row["updatedDateTime"]) < first.end)
    same = {name: row[name] for name in ("updatedDateTime", "eTag")}
    name = (row.get("customerProfile") or {}).get("name")
    bench.microsoft.world.change(row["id"], 0, {"customerProfile/name": "a\x00b", **same})
    bench.run()
    bench.microsoft.world.change(row["id"], 0, {"customerProfile/name": name, **same})
    with bench.project.warehouse.read() as connection:
        before = quarantine.counts(connection)
    bench.run()
    with bench.project.warehouse.read() as connection:
        after, gone = quarantine.counts(connection), quarantine.load(connection, resolved=True)
    assert before
    assert after == {}
    assert {row.resolution for row in gone} == {"clean"}
    return "In quarantine at first; the next scan receives it whole, and it leaves by itself."


_CORRUPT: Final = {
    CorruptRow.NO_ID: "a referral without an id",
    CorruptRow.NUMBER_ID: "an id that is a number",
    CorruptRow.NO_DATE: "a referral without updatedDateTime",
    CorruptRow.BAD_DATE: "an updatedDateTime that is no instant",
    CorruptRow.NUL: "a NUL character in a name",
    CorruptRow.LONE_SURROGATE: "half a surrogate pair in a name",
    CorruptRow.HUGE_NUMBER: "a deal value of 400 digits",
    CorruptRow.TOO_DEEP: "objects nested 400 deep",
    CorruptRow.NOT_AN_OBJECT: "a text where a referral should be",
}

_COARSE: Final = {
    DateComparison.MILLISECONDS_ROUNDED: "rounded to milliseconds",
    DateComparison.MILLISECONDS_CUT: "cut to milliseconds",
    DateComparison.SECONDS_CUT: "cut to seconds",
    DateComparison.TEXT: "as text",
}

_UNDATED: Final = (CorruptRow.NO_DATE, CorruptRow.BAD_DATE)
"""No scan of a window receives these: its filter compares dates."""


def _teams_away(bench: Bench) -> str:
    """A sync, and then the job that sends alerts."""
    rules = rules_of_p1(bench.home)
    bench.project.edit_env(
        HUNTER_TEAMS_WEBHOOK_URL="https://localhost:9/workflows/x?sig=geheim", HUNTER_SCORING_RULES=str(rules)
    )
    of_run = bench.run()
    of_job = bench.alert()
    bench.project.variables.clear()
    bench.project.edit_env(**bench.variables)
    return f"{of_run} The job of the alerts ends well: {of_job}"


FAULTS: Final = (
    # The Referrals API's answers
    Fault("api: 401, token refused", "401, for the renewed token too", _http(HttpFault.UNAUTHORIZED, times=2)),
    Fault("api: 401 once", "401, then the renewed token is taken", _http(HttpFault.UNAUTHORIZED)),
    Fault("api: 401 without MFA", "401 with code 900421", _http(HttpFault.MFA_REQUIRED, times=2)),
    Fault("api: MFA never", "every request is 401 with code 900421", _switched(mfa_missing=True)),
    Fault("api: application token", "every token counts as one without a user", _switched(app_only=True)),
    Fault("api: wrong audience", "every token counts as one for another API", _switched(wrong_audience=True)),
    Fault("api: 403", "403, role missing", _http(HttpFault.FORBIDDEN)),
    Fault("api: role missing", "every request is 403", _switched(role_missing=True)),
    Fault("api: 403 by Conditional Access", "403, claims are missing", _http(HttpFault.INSUFFICIENT_CLAIMS)),
    Fault("api: 429", "throttled once, wait 1 s", _http(HttpFault.THROTTLED, retry_after=1)),
    Fault("api: 429 for a day", "throttled, wait 86,400 s",
          _http(HttpFault.THROTTLED, lasting=True, retry_after=86400)),
    Fault("api: 429, Retry-After past", "a Retry-After date that has passed",
          _http(HttpFault.THROTTLED, retry_after="past")),
    Fault("api: 509", "throttled by bandwidth once", _http(HttpFault.BANDWIDTH, retry_after=1)),
    Fault("api: 500", "500 once", _http(HttpFault.SERVER_ERROR)),
    Fault("api: 500 in the middle", "500 after three pages, until the run gives up",
          _http(HttpFault.SERVER_ERROR, lasting=True, after=3)),
    Fault("api: 502", "502 with an HTML page once", _http(HttpFault.BAD_GATEWAY)),
    Fault("api: 503", "503 once", _http(HttpFault.UNAVAILABLE)),
    Fault("api: 503 lasting", "503 until the run gives up", _http(HttpFault.UNAVAILABLE, lasting=True)),
    Fault("api: 503 as HTML", "503 with an HTML page once", _http(HttpFault.UNAVAILABLE_HTML)),
    Fault("api: 504", "504 with an HTML page once", _http(HttpFault.GATEWAY_TIMEOUT)),
    Fault("api: 507", "507, which repeats", _http(HttpFault.SERVER_ERROR, status=507)),
    Fault("api: 200 as HTML", "200 with an HTML page once", _http(HttpFault.HTML)),
    Fault("api: 200 as HTML lasting", "200 with an HTML page until the run gives up",
          _http(HttpFault.HTML, lasting=True)),
    Fault("api: connection reset", "the connection is reset once", _http(HttpFault.RESET)),
    Fault("api: cut off", "the connection ends in the middle of the body", _http(HttpFault.CUT_OFF)),
    Fault("api: truncated", "the JSON ends in the middle", _http(HttpFault.TRUNCATED)),
    Fault("api: skiptoken expired", "400 for a next link", _http(HttpFault.SKIPTOKEN_EXPIRED)),
    Fault("api: slow", "each answer takes 0.2 s", _switched(slow_seconds=0.2)),
    Fault("api: dripping body", "the body comes one byte at a time, 5 a second",
          _switched(lasting=True, drip_bytes_per_second=5.0)),
    Fault("api: dripping headers", "the headers come one byte at a time and do not end",
          _switched(lasting=True, drip_headers_per_second=5.0)),
    Fault("api: answer too large", "an answer is larger than is read", _large_answer),
    # What it documents nowhere
    Fault("api: quoted dates only", "$filter takes dates in quotes only", _switched(date_literal=DateLiteral.QUOTED)),
    Fault("api: bare dates only", "$filter takes dates without quotes only",
          _switched(date_literal=DateLiteral.BARE)),
    Fault("api: no filter by time", "400 for $filter on updatedDateTime", _switched(filter_updated_refused=True)),
    Fault("api: no order by time", "400 for $orderby on updatedDateTime", _switched(orderby_updated_refused=True)),
    Fault("api: $top counts all", "$top is the most rows of all pages", _switched(top_is_total=True)),
    Fault("api: count of all", "@odata.count counts all pages", _switched(count_is_total=True)),
    Fault("api: small pages", "at most 3 rows a page", _switched(largest_page=3)),
    Fault("api: short skiptokens", "a next link lives for no time", _switched(skiptoken_lifetime_seconds=0.0)),
    Fault("api: client-request-id required", "400 without it", _switched(client_request_id_required=True)),
    *(
        Fault(f"api: compares {compares.replace('_', ' ')}", f"$filter and $orderby compare instants {words}",
              _fine(compares=compares))
        for compares, words in _COARSE.items()
    ),
    *(
        Fault(f"api: compares {compares.replace('_', ' ')}, no links", f"the same {words}, and no page has a next link",
              _fine(compares=compares, next_link_missing=True))
        for compares, words in _COARSE.items() if compares in (DateComparison.SECONDS_CUT, DateComparison.TEXT)
    ),
    Fault("api: filter ignored", "$filter on updatedDateTime is passed over", _proven(filter_ignored=True)),
    Fault("api: order ignored", "$orderby is passed over: newest first", _proven(orderby_ignored=True)),
    Fault("api: filter and order ignored", "$filter on updatedDateTime and $orderby are passed over",
          _proven(filter_ignored=True, orderby_ignored=True)),
    Fault("api: filter ignored, dead links", "$filter on updatedDateTime is passed over, next links lead nowhere",
          _proven(filter_ignored=True, next_link_dead=True)),
    Fault("api: filter and $skip ignored, dead links",
          "$filter and $skip are passed over, next links lead to empty lists",
          _proven(lasting=True, filter_ignored=True, next_link_dead=True, skip_ignored=True)),
    Fault("api: order ignored, compared", "$orderby is passed over in the weekly comparison",
          _compared(orderby_ignored=True)),
    Fault("api: filter ignored, compared", "$filter on updatedDateTime is passed over in the weekly comparison",
          _compared(filter_ignored=True)),
    # Links, order, rows
    Fault("paging: plain link", "next links with https and /engagements", _switched(next_link_plain=True)),
    Fault("paging: https link", "next links with https, without /engagements", _switched(next_link_https=True)),
    Fault("paging: engagements link", "next links with http and /engagements", _switched(next_link_engagements=True)),
    Fault("paging: link missing", "no next link although more follows", _switched(next_link_missing=True)),
    Fault("paging: dead links", "next links lead to empty lists; $skip is taken", _proven(next_link_dead=True)),
    Fault("paging: dead links, $skip ignored", "next links lead to empty lists, and $skip is passed over",
          _without_a_way_on(next_link_dead=True, skip_ignored=True)),
    Fault("paging: dead links, $skip refused", "next links lead to empty lists, and $skip is refused",
          _without_a_way_on(next_link_dead=True, skip_refused=True)),
    Fault("paging: capped, $skip ignored", "10 rows a page at most, no next link, and $skip is passed over",
          _without_a_way_on(next_link_missing=True, skip_ignored=True)),
    Fault("paging: capped, $skip refused", "10 rows a page at most, no next link, and $skip is refused",
          _without_a_way_on(next_link_missing=True, skip_refused=True)),
    Fault("paging: capped, filter refused", "the same without a filter: a list that cannot be read to its end",
          _without_a_way_on(next_link_missing=True, skip_ignored=True, filter_updated_refused=True)),
    Fault("paging: capped, filter ignored", "the same where the filter is passed over",
          _without_a_way_on(next_link_missing=True, skip_refused=True, filter_ignored=True)),
    Fault("paging: capped, cut to seconds", "the same where instants are cut to seconds",
          _without_a_way_on(next_link_missing=True, skip_ignored=True, compares=DateComparison.SECONDS_CUT)),
    Fault("paging: dead links, compared", "next links lead to empty lists in the weekly comparison",
          _compared(next_link_dead=True)),
    Fault("paging: dead links, $skip ignored, compared",
          "next links lead to empty lists, and $skip is passed over, in the weekly comparison",
          _compared(next_link_dead=True, skip_ignored=True)),
    Fault("paging: link back", "a next link leads back to the first page", _switched(next_link_back=True)),
    Fault("paging: foreign link", "a next link names another host", _switched(next_link_foreign=True)),
    Fault("paging: loop", "a next link leads to its own page", _switched(next_link_loop=True)),
    Fault("paging: offsets", "skiptokens count offsets", _switched(offset_paging=True)),
    Fault("paging: row moves", "a row is updated between two pages, which count offsets",
          _switched(offset_paging=True, touch_between_pages=True)),
    Fault("paging: pages twice", "each page comes twice", _switched(duplicate_pages=True)),
    Fault("paging: rows twice", "a page begins with the last row of the one before", _switched(duplicate_rows=True)),
    Fault("paging: reversed pages", "the rows of a page come in the opposite order",
          _switched(lasting=True, reordered_rows=True)),
    Fault("paging: row held back", "a row comes at the end of the next page",
          _switched(lasting=True, out_of_order_row=True)),
    Fault("paging: row held back, dead links", "a page's first row is held back, and next links lead to empty lists",
          _switched(lasting=True, out_of_order_row=True, next_link_dead=True)),
    Fault("paging: shown late", "rows are listed 600 s after their update", _switched(late_visible_seconds=600.0)),
    Fault("rows: unknown values", "keys and values that no document names", _switched(unknown_values=True)),
    *(
        Fault(f"rows: ids {shape.value}", f"customerProfile.ids is {shape.name.lower().replace('_', ' ')}",
              _switched(ids_shape=shape))
        for shape in IdsShape
    ),
    Fault("rows: padded fractions", "instants with seven digits always", _switched(padded_fractions=True)),
    Fault("rows: HTML names", "names with HTML entities", _switched(html_names=True)),
    *(
        Fault(f"rows: {kind.value.replace('_', ' ')}", f"{words}, on every page",
              (_compared if kind in _UNDATED else _switched)(corrupt_rows=frozenset({kind})))
        for kind, words in _CORRUPT.items()
    ),
    Fault("rows: null date", "updatedDateTime is null: no filter finds the referral", _dated(None)),
    Fault("rows: year 9999", "updatedDateTime is in the year 9999", _dated("9999-12-31T23:59:59.9999999Z")),
    Fault("rows: year 2100", "updatedDateTime is in the year 2100", _dated("2100-01-01T00:00:00Z")),
    Fault("rows: tomorrow", "updatedDateTime is tomorrow", _tomorrow),
    Fault("rows: late near the edge", "a referral shows in lists ten minutes after its update", _late),
    Fault("rows: poisoned, 400", "400 for each page with one of the rows, also for it alone", _poisoned(400)),
    Fault("rows: poisoned, 500", "500 for each page with one of the rows, also for it alone", _poisoned(500)),
    Fault("rows: poisoned in a tie", "400 for each page with one of the rows that share an instant",
          _poisoned(400, in_a_tie=True)),
    Fault("rows: two poisoned in a tie", "500 for each page with two of the rows that share an instant",
          _poisoned(500, in_a_tie=True, count=2)),
    Fault("rows: poisoned, no filter", "400 for each page with one of the rows; $filter on updatedDateTime refused",
          _poisoned(400, filter_updated_refused=True)),
    Fault("rows: too large, 400", "400 for each page of more than 4 rows",
          _switched(rows_refused_above=4, poison_status=400)),
    Fault("rows: too large, 500", "500 for each page of more than 4 rows",
          _switched(rows_refused_above=4, poison_status=500)),
    Fault("rows: discarded", "a row without an id was discarded by a person, and comes again",
          _with_a_broken_row(_discarded)),
    Fault("rows: broken, then clean", "a NUL character in a name, which is gone in the next scan", _came_clean),
    Fault("rows: Referral User", "the account sees only its own referrals, without any error",
          _shown_less(referral_user=True)),
    Fault("rows: one location", "the role was given for a location that no referral has, without any error",
          _shown_less(locations=frozenset({"none"}))),
    # Clocks
    Fault("clock: Date missing", "answers have no Date header", _switched(date_header=DateHeader.MISSING)),
    Fault("clock: Date garbled", "the Date header is no date", _switched(date_header=DateHeader.GARBLED)),
    Fault("clock: Date behind", "the Date header is 6 h behind", _switched(lasting=True, date_skew_seconds=-21600.0)),
    Fault("clock: Date ahead", "the Date header is 6 h ahead", _switched(date_skew_seconds=21600.0)),
    Fault("clock: server behind", "the server's clock is 30 min behind", _too_early),
    Fault("clock: last windows too early", "the server's clock is 25 min behind, and a range is asked for",
          _last_windows_too_early),
    Fault("clock: machine behind", "this machine's clock is 300 s behind, and a range is asked for", _machine_behind),
    Fault("clock: from next month", "lease, pause and attempt of a run whose clock was a month ahead",
          _left_from_next_month),
    Fault("clock: server ahead", "the server's clock is 5 min ahead", _ahead),
    # Sign-in
    Fault("sign-in: nobody", "nobody has signed in", _not_signed_in),
    Fault("sign-in: expired or revoked", "invalid_grant at the renewal", _renewal(TokenFault.INVALID_GRANT)),
    Fault("sign-in: 90 days unused", "AADSTS700082 at the renewal", _renewal(TokenFault.INVALID_GRANT, number=700082)),
    Fault("sign-in: MFA asked", "interaction_required at the renewal", _renewal(TokenFault.INTERACTION_REQUIRED)),
    Fault("sign-in: app registration", "invalid_client at the renewal", _renewal(TokenFault.INVALID_CLIENT)),
    Fault("sign-in: service in trouble", "503 at the renewal, once", _renewal(TokenFault.UNAVAILABLE, times=1)),
    Fault("sign-in: service away", "503 at the renewal, until the run gives up", _renewal(TokenFault.UNAVAILABLE)),
    Fault("sign-in: renewal blocked", "Conditional Access refuses it (AADSTS53003)",
          _renewal_refused("refresh_blocked")),
    Fault("sign-in: device code blocked", "Conditional Access refuses a renewal (AADSTS530036)",
          _renewal_refused("device_code_blocked")),
    Fault("sign-in: public clients off", "the app allows no public client", _renewal_refused("public_client_off")),
    Fault("sign-in: dripping", "the sign-in service's answer comes one byte at a time", _sign_in_drips),
    Fault("sign-in: short-lived tokens", "access tokens live for 301 s", _short_lived),
    Fault("login: slow down", "Microsoft asks to poll less often", _login(TokenFault.SLOW_DOWN)),
    Fault("login: code expired", "nobody entered the code in time", _login(TokenFault.EXPIRED)),
    Fault("login: declined", "the person declines", _login(TokenFault.DECLINED)),
    Fault("login: access denied", "the person declines, in RFC 8628's words", _login(TokenFault.ACCESS_DENIED)),
    Fault("login: bad code", "Microsoft does not know the code", _login(TokenFault.BAD_CODE)),
    Fault("token cache: open to others", "the file's mode is 644",
          _cache_changed("sign_in.bin", lambda path: path.chmod(0o644))),
    Fault("token cache: damaged", "the file is cut in half",
          _cache_changed("sign_in.bin", lambda path: os.truncate(path, path.stat().st_size // 2))),
    Fault("token cache: key lost", "the key file is empty",
          _cache_changed("sign_in.key", lambda path: os.truncate(path, 0))),
    Fault("token cache: locked", "another process renews, for longer than a run waits", _cache_locked),
    # What the account sees
    Fault("account: another user", "somebody else of the tenant signs in", _signs_in_as_another),
    Fault("account: another tenant", "HUNTER_PARTNER_CENTER_TENANT_ID names another tenant", _another_tenant),
    Fault("account: another API", "HUNTER_PARTNER_CENTER_BASE_URL names another API", _another_api),
    Fault("account: made Referral User", "the account loses its role, and sees only its own referrals",
          _compared(referral_user=True)),
    Fault("account: role without locations", "the role covers no location of a referral any more",
          _compared(locations=frozenset({"nowhere"}))),
    Fault("account: referrals vanish", "three referrals are shown no more", _vanished),
    Fault("account: referrals come back", "three referrals that had vanished are shown again", _back),
    # Network
    Fault("network: away", "nothing listens; it comes back", _unreachable),
    Fault("network: certificate", "the certificate is of an unknown authority", _untrusted),
    Fault("network: no such host", "the API's host has no address",
          _with_env(HUNTER_PARTNER_CENTER_BASE_URL="https://nowhere.invalid")),
    # DNS
    *(
        Fault(f"dns: {kind.value}", "every question", _switched(dns=kind))
        for kind in DnsFault
    ),
    Fault("dns: resolver away", "nothing listens at the resolver's port", _resolver_gone),
    # Database
    Fault("database: locked", "another program writes for longer than the patience", _locked),
    Fault("database: locked for a while", "another process holds SQLite's write lock for longer than a lease lasts",
          _locked_for_a_while),
    Fault("database: read-only", "SQLite may not write", _read_only),
    Fault("database: full", "no page is left for rows", _full),
    Fault("database: lead refused", "the database refuses an insert into leads", _refused_row("leads")),
    Fault("database: score refused", "the database refuses an insert into company_scores",
          _refused_row("company_scores")),
    Fault("database: newer schema", "migrated by a newer version", _newer_schema),
    Fault("database: away", "no server at the address",
          _with_env(HUNTER_DATABASE_URL="postgresql://hunter:geheim@127.0.0.1:9/hunter")),
    # Runs
    Fault("run: killed", "SIGKILL after the second page", _killed),
    Fault("run: another one fetches", "another run holds the lease", _lease_held),
    Fault("run: second at once", "`partner-center sync` beside a run that fetches", _second_command),
    Fault("run: breaker open", "five runs in a row failed", _breaker_open),
    Fault("run: asked to wait", "throttled, wait 86,400 s: longer than the run may take", _asked_to_wait),
    Fault("run: switched off", "HUNTER_PARTNER_CENTER_ENABLED=false while pages are read", _switched_off),
    Fault("run: refused repeatedly", "a stretch of four windows was refused three times", _refused_repeatedly),
    Fault("run: window in the future", "a window that has not ended is asked for", _future),
    Fault("run: range reversed", "a range that runs backwards is asked for", _reversed),
    # Alerts
    Fault("alerts: Teams does not answer", "nothing listens at HUNTER_TEAMS_WEBHOOK_URL", _teams_away),
    # Settings
    Fault("settings: flag off", "HUNTER_PARTNER_CENTER_ENABLED=false",
          _with_env(HUNTER_PARTNER_CENTER_ENABLED="false")),
    Fault("settings: no number", "HUNTER_PARTNER_CENTER_PAGE_SIZE=many",
          _with_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="many")),
    Fault("settings: unknown name", "HUNTER_PARTNER_CENTRE_ENABLED is set",
          _with_env(HUNTER_PARTNER_CENTRE_ENABLED="true")),
    Fault("settings: CA file missing", "HUNTER_PARTNER_CENTER_CA_BUNDLE names no file",
          _with_env(HUNTER_PARTNER_CENTER_CA_BUNDLE="/nowhere/ca.pem")),
    Fault("settings: retired address", "the API address of the CSP programme",
          _with_env(HUNTER_PARTNER_CENTER_BASE_URL="https://api.partnercenter.microsoft.com")),
    Fault("settings: rules unreadable", "HUNTER_SCORING_RULES is no TOML", _bad_rules),
    Fault("settings: start moved", "HUNTER_SYNC_START changed without a restart",
          _with_env(HUNTER_SYNC_START="2026-01-01T00:00:00Z")),
)  # fmt: skip

ONLY_WRITING: Final = frozenset({"created_status_201", "illegal_transition_409"})
"""Switches of what the pipeline never asks for."""

ONLY_THE_BROWSER: Final = frozenset({"consent_declined"})
"""A switch of the sign-in page for browsers."""
