"""The named points at which a process kills itself, by wrapping the product's functions.

Not here: what the process does (`child`), what must be true afterwards (`sweep`).
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from signal import SIGKILL
from typing import Any, Final

from sqlalchemy import Engine, event

_PACKAGE: Final = "partner_center_pipeline"
Arm = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Failpoint:
    """A point of the work. `arm` makes a process kill itself there; `empty` starts from a database without tables."""

    name: str
    arm: Arm
    empty: bool = False


def _kill() -> None:
    os.kill(os.getpid(), SIGKILL)


def _wrap(where: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace the function `module:name` or `module:Class.name`."""
    owner, _, name = where.replace(":", ".").rpartition(".")
    module, _, _ = where.partition(":")
    place = resolve_name(f"{_PACKAGE}.{module}:{owner.removeprefix(module).lstrip('.')}".rstrip(":"))
    setattr(place, name, make(getattr(place, name)))


def before(where: str, nth: int = 1) -> Arm:
    """Kill this process at the `nth` call of a function, before it does anything."""
    return lambda: _wrap(where, lambda original: _killing(original, nth, first=True))


def after(where: str, nth: int = 1) -> Arm:
    """Kill this process when the `nth` call of a function has returned."""
    return lambda: _wrap(where, lambda original: _killing(original, nth, first=False))


def _killing(original: Callable[..., Any], nth: int, *, first: bool) -> Callable[..., Any]:
    calls = 0

    def wrapped(*args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        last = calls == nth
        if last and first:
            _kill()
        result = original(*args, **named)
        if last:
            _kill()
        return result

    return wrapped


def at_commit(where: str, nth: int = 1, *, done: bool = False) -> Arm:
    """Kill this process before (`done`: after) the commit of a transaction begun in the `nth` call of a function."""
    inside = False

    def marking(original: Callable[..., Any]) -> Callable[..., Any]:
        calls = 0

        def wrapped(*args: Any, **named: Any) -> Any:
            nonlocal calls, inside
            calls += 1
            inside = calls == nth
            return original(*args, **named)

        return wrapped

    def arm() -> None:
        _wrap(where, marking)
        if done:
            _wrap("warehouse.database:Warehouse.write", lambda original: _killing_after_exit(original, lambda: inside))
        else:
            event.listen(Engine, "commit", lambda _: _kill() if inside else None)

    return arm


def _killing_after_exit(original: Callable[..., Any], due: Callable[[], bool]) -> Callable[..., Any]:
    @contextmanager
    def writing(db: Any) -> Iterator[Any]:
        with original(db) as connection:
            yield connection
        if due():
            _kill()

    return writing


def at_statement(beginning: str, nth: int) -> Arm:
    """Kill this process when the database has executed the `nth` statement that begins so."""

    def arm() -> None:
        seen = 0

        def executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            nonlocal seen
            seen += statement.lstrip().upper().startswith(beginning)
            if seen == nth:
                _kill()

        event.listen(Engine, "after_cursor_execute", executed)

    return arm


def _rename_of_the_token(*, done: bool) -> Arm:
    def killing(original: Callable[..., Any]) -> Callable[..., Any]:
        def replace(path: Path, target: Any) -> Any:
            is_token = path.name.startswith(".sign_in-")
            if is_token and not done:
                _kill()
            result = original(path, target)
            if is_token:
                _kill()
            return result

        return replace

    return lambda: setattr(Path, "replace", killing(Path.replace))


FAILPOINTS: Final = (
    # A new database
    Failpoint("migration: after some tables", at_statement("CREATE TABLE", 6), empty=True),
    Failpoint(
        "migration: tables made, nothing committed", at_commit("warehouse.database:Warehouse.migrate"), empty=True
    ),
    Failpoint("migration: done", after("warehouse.database:Warehouse.migrate"), empty=True),
    # The sign-in
    Failpoint("sign-in: renewed, not kept yet", before("partner_center.token_store:TokenStore.write")),
    Failpoint("sign-in: temporary file written, not renamed", _rename_of_the_token(done=False)),
    Failpoint("sign-in: file renamed", _rename_of_the_token(done=True)),
    # The lease and the heartbeat
    Failpoint("lease: before it is taken", before("warehouse.lease:Lease.acquire")),
    Failpoint("lease: written, not committed", at_commit("warehouse.lease:Lease._try_to_take")),
    Failpoint("lease: taken", after("warehouse.lease:Lease.acquire")),
    Failpoint("lease: renewed by a sign of life, not committed", after("warehouse.lease:Lease.confirm", 2)),
    Failpoint("life: the first sign, not committed", after("warehouse.lease:_beat")),
    Failpoint("lease: before it is given back", before("warehouse.lease:Lease.release")),
    Failpoint("lease: given back", after("warehouse.lease:Lease.release")),
    # The first window's scan
    Failpoint("attempt: noted, not committed", after("warehouse.ledger:start_attempts")),
    Failpoint("attempt: noted", before("warehouse.demo:refuse_mixing")),
    Failpoint("scan: before the first page is asked for", before("partner_center.client:ReferralsClient.get_page")),
    Failpoint("scan: between two pages", before("partner_center.client:ReferralsClient.get_page", 4)),
    Failpoint("page 1: rows stored, not committed", after("warehouse.referrals:store")),
    Failpoint("page 3: rows stored, not committed", after("warehouse.referrals:store", 3)),
    Failpoint("page 2: bad rows quarantined, not committed", after("warehouse.referrals:quarantine", 2)),
    Failpoint("page 2: position noted, not committed", after("warehouse.ledger:save_position", 2)),
    Failpoint("page 2: about to commit", at_commit("warehouse.window_ingest:WindowIngest.write", 2)),
    Failpoint("page 2: committed", before("warehouse.window_ingest:WindowIngest._complete_until", 2)),
    Failpoint("closing: written, not committed", after("warehouse.ledger:complete_windows")),
    Failpoint("closing: committed", at_commit("warehouse.ledger:complete_windows", done=True)),
    # A range, where one page may pass several windows
    Failpoint("range: attempts noted, not committed", after("warehouse.ledger:start_attempts", 2)),
    Failpoint("range: some windows closed, not committed", after("warehouse.ledger:complete_windows", 3)),
    Failpoint("range: some windows closed", at_commit("warehouse.ledger:complete_windows", 3, done=True)),
    Failpoint("range: a page of the third window stored, not committed", after("warehouse.ledger:save_position", 12)),
    # Between and inside the later assets
    Failpoint("leads: a chunk written, not committed", after("warehouse.leads:write")),
    Failpoint("leads: what follows added, not committed", after("warehouse.leads:domains_of")),
    Failpoint("leads: a chunk no longer pending, not committed", after("warehouse.pending:remove")),
    Failpoint("leads: a chunk committed", before("warehouse.leads:write", 2)),
    Failpoint("leads: done, not marked", before("warehouse.ledger:mark")),
    Failpoint("leads: marked, not committed", after("warehouse.ledger:mark")),
    Failpoint("companies: a chunk written, not committed", after("warehouse.companies:write")),
    Failpoint("companies: suggestions written, not committed", after("warehouse.matches:replace_of_companies")),
    Failpoint("companies: suggestions of leads written, not committed", after("warehouse.matches:replace_of_leads")),
    Failpoint("companies: done, not marked", before("warehouse.ledger:mark", 2)),
    Failpoint("signals: answered, not kept", after("defs.derivation:ask", 2)),
    Failpoint("signals: a chunk kept, not committed", after("defs.derivation:keep")),
    Failpoint("signals: done, not marked", before("warehouse.ledger:mark", 3)),
    Failpoint("scores: a chunk written, not committed", after("warehouse.scores:write")),
    Failpoint("scores: done, not marked", before("warehouse.ledger:mark", 4)),
    Failpoint("chain: the window is done", at_commit("warehouse.ledger:mark", 4, done=True)),
    # The rescan
    Failpoint("rescan: signals kept, scores not written", after("defs.rescan:keep")),
    Failpoint("rescan: a chunk about to commit", at_commit("defs.rescan:keep", 2)),
    Failpoint("rescan: between two chunks", before("defs.rescan:ask", 2)),
)
"""In the order in which the work reaches them."""
