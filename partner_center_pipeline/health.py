"""How well the pipeline does: rules that grade what was found, over plain data. `status` and `doctor` use the same.

Not here: finding it (`warehouse.health`, `defs.dagster_state`), and asking Microsoft (`doctor`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median
from typing import Final

from partner_center_pipeline.windows import WindowGrid, datetime_of

DAEMON_SILENT: Final = timedelta(minutes=5)
"""Without a heartbeat for so long a daemon is stopped; each of Dagster's sends one about every 30 s."""

LONG_OPEN: Final = timedelta(days=1)
"""For how long a window may stay open while newer ones are done."""

LONG_IN_QUEUE: Final = timedelta(hours=1)
"""How long a run, or a row that is to be derived, may wait."""

NEW_DRIFT: Final = timedelta(days=7)
"""For how long drift is news."""

COMPARED: Final = {"full": timedelta(days=9), "recent": timedelta(days=2)}
"""How old the last comparison of a kind may be; they run each week and each day."""

SIGN_IN_WARNING, SIGN_IN_DAYS = 75, 90
"""Days without renewal from which the sign-in is warned about, and after which Microsoft ends it."""

DISK_WARNING, DISK_WRONG = 2_000_000_000, 500_000_000
"""Free bytes below which the disk is warned about, and below which writing may fail any time."""

ONE_SLOT: Final = 1
"""What each pool of the project is limited to (dagster.yaml)."""


SAME_WEEKDAYS: Final = 4
"""A day is compared with the same weekday of so many weeks before."""
LEAST_A_DAY: Final = 10
"""Versions that such a day has as a rule; of fewer nothing can be said."""
COLLAPSED: Final = 0.2
"""The part of the usual number below which a day's count has collapsed."""


class Grade(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


EXIT_CODES: Final = {Grade.OK: 0, Grade.WARNING: 1, Grade.WRONG: 2}


@dataclass(frozen=True, slots=True)
class Item:
    """What one rule found: a sentence that says what to do, and figures for programs (JSON's types)."""

    subject: str
    grade: Grade
    text: str
    figures: Mapping[str, object] = field(default_factory=dict)


def worst(items: Iterable[Item]) -> Grade:
    """Return the worst grade of these items."""
    return max((item.grade for item in items), key=lambda grade: EXIT_CODES[grade], default=Grade.OK)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last attempt that failed: its window's start (ticks), when it began (UTC), why, and attempts done since."""

    window_start: int
    at: datetime
    text: str
    done_since: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """The last reconcile of a kind: when it began (UTC), whether it ended, what complete windows missed, an error."""

    kind: str
    at: datetime
    is_finished: bool
    missed: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """The last full reconcile that went through: leads that it looked for, and those that Partner Center shows no more.

    `complaint` says what to do when those are too many at once to be true.
    """

    at: datetime
    held: int
    vanished: int
    complaint: str | None


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Versions of referrals that yesterday brought (None: it is not fetched to its end), and the same weekdays before.

    `by_day` has all days since the first of those, by their start (UTC).
    """

    yesterday: int | None
    weekdays_before: Sequence[int]
    by_day: Mapping[datetime, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WarehouseFacts:
    """What the warehouse says. Instants in ticks, times in UTC; None for what there is not.

    newest_end      the end of the newest window that the whole chain has done
    open_windows    windows that are due and not done; `oldest_open` is the start of the oldest of them
    attempts        whether there ever was one; `is_working`: one is under way
    breaker         what the breaker says while it is tripped
    pending         rows that are still to be derived; `oldest_pending` since when
    quarantine      what the quarantine says, None when it is empty
    size            bytes of the database
    shown           what the last full reconcile found of leads that are shown no more
    arrivals        how many versions yesterday brought, and what is usual; None before the first window
    """

    newest_end: int | None
    open_windows: int
    oldest_open: int | None
    attempts: bool
    is_working: bool
    last_failure: Failure | None
    breaker: str | None
    pending: int
    oldest_pending: datetime | None
    quarantined: int
    quarantine: str | None
    drift: int
    newest_drift: datetime | None
    comparisons: Sequence[Comparison]
    size: int
    scored_by: Sequence[str]
    shown: Shown | None = None
    arrivals: Arrivals | None = None


@dataclass(frozen=True, slots=True)
class Daemon:
    """One of Dagster's daemons: its last heartbeat (UTC; None: never), and the kind of error it met last."""

    name: str
    heartbeat: datetime | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DagsterFacts:
    """What Dagster's storage says. `stopped` names schedules and sensors; `limits` has the pools that have one.

    A pool of `wide_pools` may have more than one slot.
    """

    daemons: Sequence[Daemon]
    stopped: Sequence[str]
    limits: Mapping[str, int]
    expected_pools: Sequence[str]
    queued: int
    oldest_queued: datetime | None
    wide_pools: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SignInFacts:
    """The stored sign-in. `age_days` is the time since its last renewal, `command` renews it by hand."""

    signed_in: bool
    signed_in_at: datetime | None = None
    age_days: float | None = None
    command: str = "partner-center login"


def of_flag(enabled: bool) -> Item:
    """Grade the flag."""
    if enabled:
        return Item("flag", Grade.OK, "HUNTER_PARTNER_CENTER_ENABLED is on", {"enabled": True})
    text = "HUNTER_PARTNER_CENTER_ENABLED is off: nothing is fetched; set it to true in .env"
    return Item("flag", Grade.WARNING, text, {"enabled": False})


def of_sync(facts: WarehouseFacts, grid: WindowGrid, now: datetime, allowed: int) -> Iterator[Item]:
    """Grade what the ledger says: the newest complete window, the open ones, the last failure.

    `allowed` is how many windows the sync may lag; half of them are not even worth a warning.
    """
    if grid.first is None:
        yield Item("sync", Grade.WARNING, "HUNTER_SYNC_START is not set; `partner-center sync` writes it into .env")
        return
    due = max(grid.due_end(now), grid.first)
    yield _lag(facts, grid, now, due, allowed)
    yield _open(facts, grid, now, allowed)
    yield _last_failure(facts)


def _lag(facts: WarehouseFacts, grid: WindowGrid, now: datetime, due: int, allowed: int) -> Item:
    since = grid.first if facts.newest_end is None else facts.newest_end
    missed = max(due - (since or 0), 0) // grid.width
    minutes = round((now - datetime_of(since or 0)).total_seconds() / 60, 1)
    figures = {
        "newest_complete_end": None if facts.newest_end is None else _iso(datetime_of(facts.newest_end)),
        "lag_minutes": minutes,
        "windows_missed": missed,
        "windows_allowed": allowed,
    }
    what_to_do = "see `last failure`, `breaker` and `daemon`, then run `partner-center sync`"
    if facts.newest_end is None:
        is_begun = facts.attempts and not facts.is_working  # the first load of a large tenant takes hours
        is_new = not is_begun and now - datetime_of(grid.first or 0) <= timedelta(days=1)
        grade = Grade.WARNING if is_new or missed <= allowed else Grade.WRONG
        text = f"no window is complete yet, {missed} are due; "
        text += "run `partner-center sync`, or `partner-center ui`" if not facts.attempts else what_to_do
        return Item("sync", grade, text, figures)
    text = f"complete up to {datetime_of(facts.newest_end):%Y-%m-%d %H:%M} UTC, {_long(timedelta(minutes=minutes))} ago"
    grade = Grade.WRONG if missed > allowed else Grade.WARNING if missed > max(allowed // 2, 1) else Grade.OK
    if grade is not Grade.OK:
        text += f": {missed} windows since then are due and not done; {what_to_do}"
    return Item("sync", grade, text, figures)


def _open(facts: WarehouseFacts, grid: WindowGrid, now: datetime, allowed: int) -> Item:
    if facts.oldest_open is None:
        return Item("open windows", Grade.OK, "none: every window that is due is complete", {"open": 0, "since": None})
    since = datetime_of(facts.oldest_open + grid.width) + timedelta(seconds=grid.lag)
    figures = {
        "open": facts.open_windows,
        "since": _iso(since),
        "oldest": grid.window(facts.oldest_open).key,
        "is_working": facts.is_working,
    }
    waited = now - since
    text = f"{facts.open_windows}, the oldest {figures['oldest']}, due for {_long(waited)}"
    missed = waited // timedelta(seconds=grid.interval)
    if missed <= max(allowed // 2, 1):
        return Item("open windows", Grade.OK, text, figures)
    if facts.is_working:
        return Item("open windows", Grade.WARNING, f"{text}; a run is at work", figures)
    began = facts.attempts or facts.newest_end is not None
    grade = Grade.WRONG if began and waited > LONG_OPEN and missed > allowed else Grade.WARNING
    return Item("open windows", grade, f"{text}; `partner-center sync` runs them and says why one fails", figures)


def _last_failure(facts: WarehouseFacts) -> Item:
    failed = facts.last_failure
    if failed is None:
        return Item("last failure", Grade.OK, "none is known", {"at": None})
    figures = {"at": _iso(failed.at), "error": failed.text, "done_since": failed.done_since}
    text = f"{failed.at:%Y-%m-%d %H:%M} UTC, window {datetime_of(failed.window_start):%Y-%m-%d-%H:%M}: {failed.text}"
    if failed.done_since:
        return Item("last failure", Grade.OK, f"{text} ({failed.done_since} done since then)", figures)
    return Item("last failure", Grade.WARNING, f"{text} None was done since then", figures)


def of_warehouse(facts: WarehouseFacts, now: datetime) -> Iterator[Item]:
    """Grade what else the warehouse says: breaker, what is to be derived, quarantine, drift, comparisons, size."""
    tripped = facts.breaker is not None
    grade = Grade.WRONG if tripped else Grade.OK
    yield Item("breaker", grade, facts.breaker or "closed: Partner Center is asked", {"tripped": tripped})

    waits = None if facts.oldest_pending is None else now - facts.oldest_pending
    figures = {"rows": facts.pending, "oldest": _iso(facts.oldest_pending)}
    text = "nothing waits to be derived"
    if waits is not None:
        text = f"{facts.pending} rows wait to be derived, the oldest for {_long(waits)}; the next run takes them"
    grade = Grade.WARNING if waits is not None and waits > LONG_IN_QUEUE else Grade.OK
    yield Item("pending", grade, text, figures)

    grade = Grade.WARNING if facts.quarantined else Grade.OK
    yield Item("quarantine", grade, facts.quarantine or "empty: every row was taken in", {"open": facts.quarantined})

    text = "none is known"
    if facts.newest_drift is not None:
        text = f"{facts.drift} names or values that no source names, the newest of {facts.newest_drift:%Y-%m-%d}; "
        text += "look at them with `partner-center drift`"
    is_new = facts.newest_drift is not None and now - facts.newest_drift < NEW_DRIFT
    figures = {"known": facts.drift, "newest": _iso(facts.newest_drift)}
    yield Item("drift", Grade.WARNING if is_new else Grade.OK, text, figures)

    yield from (_compared(kind, facts, now) for kind in COMPARED)
    yield _shown(facts.shown)
    yield of_arrivals(facts.arrivals)
    yield Item("database", Grade.OK, f"{_bytes(facts.size)}", {"bytes": facts.size})


def _compared(kind: str, facts: WarehouseFacts, now: datetime) -> Item:
    subject = f"reconcile, {kind}"
    option = "" if kind == "full" else " --recent"
    last = next((one for one in facts.comparisons if one.kind == kind), None)
    if last is None:
        text = f"none yet; its schedule makes one, and so does `partner-center reconcile{option}`"
        return Item(subject, Grade.OK, text, {"at": None})
    figures = {"at": _iso(last.at), "missed": last.missed, "error": last.error}
    text = f"{last.at:%Y-%m-%d %H:%M} UTC"
    if last.missed:
        text += f", found {last.missed} versions that complete windows had missed; they are loaded"
    if last.error:
        text += f", failed: {last.error}"
    elif not last.is_finished:
        text += ", did not end" if now - last.at > LONG_OPEN else ", is at work"
    is_late = now - last.at > COMPARED[kind]
    if is_late:
        text += f"; that is long ago: run `partner-center reconcile{option}`"
    bad = is_late or last.missed or last.error or (not last.is_finished and now - last.at > LONG_OPEN)
    return Item(subject, Grade.WARNING if bad else Grade.OK, text, figures)


def _shown(facts: Shown | None) -> Item:
    subject = "referrals shown"
    if facts is None:
        text = "no full reconcile went through yet, so nobody knows whether Partner Center shows all that it did"
        return Item(subject, Grade.OK, text, {"at": None})
    figures = {"at": _iso(facts.at), "held": facts.held, "vanished": facts.vanished}
    text = f"{facts.at:%Y-%m-%d %H:%M} UTC, Partner Center showed {facts.held - facts.vanished} of {facts.held} leads"
    if facts.complaint is None:
        return Item(subject, Grade.OK, text, figures)
    return Item(subject, Grade.WRONG, f"{facts.at:%Y-%m-%d %H:%M} UTC found {facts.complaint}", figures)


def of_arrivals(facts: Arrivals | None) -> Item:
    """Grade how many versions of referrals yesterday brought, by what its weekday usually brings."""
    subject = "referrals come"
    if facts is None or facts.yesterday is None:
        text = "yesterday is not fetched to its end, so nobody knows what it brings"
        return Item(subject, Grade.OK, text, {"yesterday": None, "usual": None})
    expected = usual(facts.weekdays_before)
    figures = {"yesterday": facts.yesterday, "usual": expected}
    text = f"yesterday brought {facts.yesterday} versions of referrals"
    if expected is None:
        text += "; there are too few days, or too few referrals a day, to know what is usual"
        return Item(subject, Grade.OK, text, figures)
    text += f"; the same weekday usually brings {expected:.0f}"
    if facts.yesterday >= COLLAPSED * expected:
        return Item(subject, Grade.OK, text, figures)
    text += (
        ". A holiday does that. If there was none, the account may see less than before: look at its role, Referral "
        "Admin for the entire company, and run `partner-center reconcile`"
    )
    return Item(subject, Grade.WARNING, text, figures)


def usual(counts: Sequence[int]) -> float | None:
    """Return how many versions a day usually brings, from the counts of the same weekdays; None where nobody knows."""
    if len(counts) < SAME_WEEKDAYS // 2:
        return None
    middle = float(median(counts))
    return middle if middle >= LEAST_A_DAY else None


def of_schema(is_current: bool, revision: str | None, *, is_sqlite: bool) -> Item:
    """Grade the version of the warehouse's schema. A SQLite file is migrated by the first command that writes."""
    figures = {"revision": revision, "is_current": is_current}
    if is_current:
        return Item("schema", Grade.OK, f"version {revision}, the one that this program needs", figures)
    if is_sqlite:
        found = "no tables yet" if revision is None else f"version {revision} is older"
        return Item("schema", Grade.WARNING, f"{found}; the next `partner-center sync` or `ui` changes that", figures)
    return Item("schema", Grade.WRONG, "not the one that this version needs; run `partner-center migrate`", figures)


def of_rules(version: str, scored_by: Sequence[str]) -> Item:
    """Grade the version of the scoring rules, and whether stored scores were made by it."""
    others = [one for one in scored_by if one != version]
    figures = {"version": version, "scored_by": list(scored_by)}
    if others:
        text = f"version {version}; scores of version {', '.join(others)} are stored: run `partner-center rescore`"
        return Item("rules", Grade.WARNING, text, figures)
    return Item("rules", Grade.OK, f"version {version}", figures)


def of_dagster(facts: DagsterFacts | None, now: datetime) -> Iterator[Item]:
    """Grade Dagster's daemons, schedules, sensor, pools and queue; None: Dagster never ran on this home folder."""
    if facts is None or all(daemon.heartbeat is None for daemon in facts.daemons):
        text = "never ran on this home folder: nothing is synced by itself. `partner-center ui` starts it"
        yield Item("daemon", Grade.WARNING, text, {"heartbeats": {}})
    else:
        yield _daemons(facts.daemons, now)
    if facts is None:
        return
    grade = Grade.WRONG if facts.stopped else Grade.OK
    text = "all are on"
    if facts.stopped:
        text = f"stopped: {', '.join(facts.stopped)}; turn them on under Automation in `partner-center ui`"
    yield Item("schedules and sensors", grade, text, {"stopped": list(facts.stopped)})
    yield _pools(facts)
    waits = None if facts.oldest_queued is None else now - facts.oldest_queued
    text = "empty" if waits is None else f"{facts.queued} runs wait, the oldest for {_long(waits)}"
    late = waits is not None and waits > LONG_IN_QUEUE
    figures = {"runs": facts.queued, "oldest": _iso(facts.oldest_queued)}
    yield Item("queue", Grade.WARNING if late else Grade.OK, text, figures)


def _daemons(daemons: Sequence[Daemon], now: datetime) -> Item:
    figures = {"heartbeats": {daemon.name: _iso(daemon.heartbeat) for daemon in daemons}}
    silent = [one for one in daemons if one.heartbeat is None or now - one.heartbeat > DAEMON_SILENT]
    if silent:
        last = max((one.heartbeat for one in silent if one.heartbeat), default=None)
        since = "" if last is None else f" since {last:%Y-%m-%d %H:%M} UTC"
        names = "Dagster's daemon" if len(silent) == len(daemons) else ", ".join(one.name for one in silent)
        text = f"{names} gave no sign of life{since}: nothing is synced by itself; start `partner-center ui`"
        return Item("daemon", Grade.WRONG, text, figures)
    errors = [f"{one.name} ({one.error})" for one in daemons if one.error]
    if errors:
        text = f"runs; its last round failed in {', '.join(errors)}: its log says why"
        return Item("daemon", Grade.WARNING, text, figures)
    return Item("daemon", Grade.OK, "runs", figures)


def _pools(facts: DagsterFacts) -> Item:
    figures = {"limits": dict(facts.limits), "expected": dict.fromkeys(facts.expected_pools, ONE_SLOT)}
    closed = [name for name in facts.expected_pools if facts.limits.get(name, ONE_SLOT) < ONE_SLOT]
    if closed:
        text = f"{', '.join(closed)} has no slot, so its runs wait for ever: set the limit to 1 on the page "
        text += "Deployment, Concurrency"
        return Item("pools", Grade.WRONG, text, figures)
    single = [name for name in facts.expected_pools if name not in facts.wide_pools]
    wide = [f"{name} {facts.limits[name]}" for name in single if facts.limits.get(name, ONE_SLOT) > ONE_SLOT]
    if wide:
        return Item("pools", Grade.WARNING, f"{', '.join(wide)}: set the limit to 1, more do not run at once", figures)
    more = [f"{name} {facts.limits[name]}" for name in facts.wide_pools if facts.limits.get(name, ONE_SLOT) > ONE_SLOT]
    return Item("pools", Grade.OK, f"one slot each, but {', '.join(more)}" if more else "one slot each", figures)


def of_sign_in(facts: SignInFacts) -> Item:
    """Grade the stored sign-in; nobody is asked whether it renews."""
    if not facts.signed_in or facts.age_days is None:
        return Item("sign-in", Grade.WRONG, "nobody is signed in; run `partner-center login`", {"signed_in": False})
    left = max(SIGN_IN_DAYS - facts.age_days, 0.0)
    figures = {"signed_in": True, "age_days": round(facts.age_days, 1), "days_left": round(left, 1)}
    text = f"last renewed {facts.age_days:.0f} days ago; it ends after {SIGN_IN_DAYS} days without renewal"
    if left == 0:
        return Item("sign-in", Grade.WRONG, f"{text}: run `{facts.command}`", figures)
    if facts.age_days >= SIGN_IN_WARNING:
        return Item("sign-in", Grade.WARNING, f"{text}, in {left:.0f} days: run `{facts.command}`", figures)
    return Item("sign-in", Grade.OK, text, figures)


def of_disk(free: int, place: str) -> Item:
    """Grade the bytes that are free at a place."""
    figures = {"free_bytes": free, "place": place}
    grade = Grade.WRONG if free < DISK_WRONG else Grade.WARNING if free < DISK_WARNING else Grade.OK
    text = f"{_bytes(free)} free at {place}"
    return Item("disk", grade, text if grade is Grade.OK else f"{text}: make room, or writing fails", figures)


def of_private_files(open_to_others: Sequence[tuple[str, bool]]) -> Item:
    """Judge which files other users get at: each with a text, and whether they can change it."""
    figures = {"open": len(open_to_others)}
    if not open_to_others:
        return Item("private files", Grade.OK, "no other user of this machine reads settings, secrets or data", figures)
    grade = Grade.WRONG if any(may_change for _, may_change in open_to_others) else Grade.WARNING
    return Item("private files", grade, "; ".join(text for text, _ in open_to_others), figures)


def while_off(items: Iterable[Item]) -> Iterator[Item]:
    """Grade what stands still while the flag is off: nothing is expected to run then, so nothing of it is wrong."""
    for item in items:
        grade = Grade.WARNING if item.grade is Grade.WRONG else item.grade
        yield Item(item.subject, grade, item.text, item.figures)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _long(time: timedelta) -> str:
    minutes = max(int(time.total_seconds() // 60), 0)
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
