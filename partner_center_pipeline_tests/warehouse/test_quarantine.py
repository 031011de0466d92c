"""The quarantine: a broken row is one row's problem, and a replay takes in what passes by now, all or nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from partner_center_pipeline.partner_center.contract import decode, read_referral, reread
from partner_center_pipeline.partner_center.schema_drift import DriftWatch
from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow, fingerprint, payload_text
from partner_center_pipeline.vocabulary import Task
from partner_center_pipeline.warehouse import drift, ledger, pending, quarantine, referrals
from partner_center_pipeline.warehouse.database import Warehouse, WarehouseError
from partner_center_pipeline.warehouse.quarantine import Kept, Replayed
from partner_center_pipeline.warehouse.schema import quarantined_referrals, raw_referrals
from partner_center_pipeline.warehouse.window_ingest import WindowIngest
from partner_center_pipeline_tests.warehouse.pages import make_page, make_version
from partner_center_pipeline_tests.warehouse.test_window_ingest import FIRST, NOW, W, begin, finish, windows

LATER = NOW + timedelta(hours=1)
Reread = Callable[[str, str], ReferralVersion | Breach]


def text_of(number: int, **values: str) -> str:
    """A referral's JSON, of the first window."""
    fields = {"id": f'"r{number}"', "eTag": '"v1"', "updatedDateTime": '"2026-03-01T00:01:00Z"', **values}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


A_DAY = text_of(1, updatedDateTime='"2026-03-01"')
"""Breaks today's contract; `relaxed` takes it."""

BROKEN = {
    "NUL": (text_of(5, name=r'"a\u0000b"'), Breach.UNSTORABLE_TEXT),
    "lone surrogate": (text_of(5, name=r'"\ud83d"'), Breach.UNSTORABLE_TEXT),
    "NUL in a key": (text_of(5, **{r"a\u0000b": "1"}), Breach.UNSTORABLE_TEXT),
    "huge number": (text_of(5, n="1e999"), Breach.UNSTORABLE_NUMBER),
    "too deep": (text_of(5, n="[" * 400 + "]" * 400), Breach.TOO_DEEP),
    "not an object": ('"a\\u0000b"', Breach.NOT_AN_OBJECT),
    "NUL in its id": (text_of(5, id=r'"a\u0000b"'), Breach.UNSTORABLE_TEXT),
}


def read_page(body: str) -> tuple[list[ReferralVersion], list[RejectedRow]]:
    rows = [read_referral(item) for item in decode(body.encode())]
    return (
        [row for row in rows if isinstance(row, ReferralVersion)],
        [row for row in rows if isinstance(row, RejectedRow)],
    )


def write_page(warehouse: Warehouse, body: str, run_id: str = "run") -> WindowIngest:
    """What a run over the first window does with one page."""
    versions, rejected = read_page(body)
    ingest = begin(warehouse, windows(1), run_id)
    ingest.write(make_page(versions, windows(1)[0].end, rejected, last=True))
    return ingest


def kept(warehouse: Warehouse) -> list[Kept]:
    with warehouse.read() as connection:
        return quarantine.load(connection)


def stored(warehouse: Warehouse) -> dict[str, Any]:
    with warehouse.read() as connection:
        return {row.referral_id: row for row in connection.execute(select(raw_referrals))}


def relaxed(text: str, _reason: str) -> ReferralVersion | Breach:
    """A contract that takes a day without a time, too."""
    found = read_referral(decode(text.replace('"2026-03-01"', '"2026-03-01T00:02:00Z"').encode()))
    return found.reason if isinstance(found, RejectedRow) else found


def replay(warehouse: Warehouse, rule: Reread = relaxed) -> Replayed:
    names = [row.fingerprint for row in kept(warehouse)]
    with warehouse.write() as connection:
        found = {one.fingerprint: rule(one.text, one.reason) for one in quarantine.payloads(connection, names)}
        passed = [(row.referral_id, row.payload) for row in found.values() if isinstance(row, ReferralVersion)]
        return quarantine.replay(connection, found, DriftWatch().new_drift(passed), LATER)


@pytest.mark.parametrize("body", [body for body, _ in BROKEN.values()], ids=list(BROKEN))
def test_one_rows_problem_is_never_its_pages(body: str, warehouse: Warehouse) -> None:
    reason = next(reason for text, reason in BROKEN.values() if text == body)
    page = "[" + ", ".join([*map(text_of, range(5)), body, *map(text_of, range(6, 10))]) + "]"
    write_page(warehouse, page)
    assert sorted(stored(warehouse)) == [f"r{number}" for number in range(10) if number != 5]
    (row,) = kept(warehouse)
    assert (row.reason, row.window_start, row.attempts) == (str(reason), FIRST, 1)


def test_all_kinds_of_broken_rows_on_one_page_are_kept_and_counted(warehouse: Warehouse) -> None:
    page = "[" + ", ".join([*(body for body, _ in BROKEN.values()), text_of(1)]) + "]"
    for run_id in ("one", "two"):
        assert write_page(warehouse, page, run_id).total().quarantined == len(BROKEN)
    assert list(stored(warehouse)) == ["r1"]
    assert {row.attempts for row in kept(warehouse)} == {2}
    with warehouse.read() as connection:
        assert quarantine.counts(connection) == {
            "unstorable_text": 4, "unstorable_number": 1, "too_deep": 1, "not_an_object": 1,
        }  # fmt: skip


def test_a_row_is_named_by_any_beginning_of_its_fingerprint(warehouse: Warehouse) -> None:
    write_page(warehouse, "[" + ", ".join(body for body, _ in BROKEN.values()) + "]")
    rows = kept(warehouse)
    with warehouse.read() as connection:
        assert quarantine.named(connection, "") == rows
        assert quarantine.named(connection, rows[3].fingerprint[:12].upper()) == [rows[3]]
        assert quarantine.named(connection, "%") == quarantine.named(connection, "zz") == []
        assert all(one.text.isascii() for one in quarantine.payloads(connection, [row.fingerprint for row in rows]))


def test_a_row_that_passes_by_now_is_stored_under_its_window_for_a_lead_to_be_made_of_it(warehouse: Warehouse) -> None:
    odd = text_of(1, updatedDateTime='"2026-03-01"', status='"Paused"')
    write_page(warehouse, f"[{odd}, {text_of(2)}]")
    finish(warehouse, windows(1))
    assert replay(warehouse) == Replayed(loaded=1)
    assert kept(warehouse) == []
    row = stored(warehouse)["r1"]
    assert (row.window_start, row.late, row.fetched_at) == (FIRST, False, LATER)
    with warehouse.read() as connection:
        assert pending.load(connection, Task.LEADS).items == ["r1", "r2"]
        assert [(seen.path, seen.value) for seen in drift.load(connection)] == [("status", "Paused")]


def test_a_row_from_the_overlap_is_late_as_any_other(warehouse: Warehouse) -> None:
    write_page(warehouse, "[]")
    ingest = begin(warehouse, windows(1, first=1), "second")
    _, rejected = read_page(f"[{A_DAY}]")
    ingest.write(make_page([], FIRST + 2 * W, rejected, last=True))
    assert replay(warehouse).loaded == 1
    row = stored(warehouse)["r1"]
    assert (row.window_start, row.late) == (FIRST + W, True)


def test_a_row_that_still_breaks_the_contract_stays_with_todays_reason(warehouse: Warehouse) -> None:
    write_page(warehouse, f"[{A_DAY}]")
    finish(warehouse, windows(1))
    with warehouse.write() as connection:
        connection.execute(update(quarantined_referrals).values(reason="a reason of long ago"))
    (before,) = kept(warehouse)
    assert replay(warehouse, reread) == Replayed(still_refused=1)
    (after,) = kept(warehouse)
    assert after.reason == "bad_updated"
    assert (after.attempts, after.last_seen, after.fingerprint) == (1, before.last_seen, before.fingerprint)
    with warehouse.read() as connection:
        assert len(ledger.covered(connection)) == 1


def test_a_replay_never_puts_an_older_version_before_a_newer_one(warehouse: Warehouse) -> None:
    newer = text_of(1, eTag='"v2"', updatedDateTime='"2026-03-01T00:05:00Z"')
    write_page(warehouse, f"[{A_DAY}, {newer}]")
    assert len(kept(warehouse)) == 1, "the server shows both at once"
    assert replay(warehouse).loaded == 1
    with warehouse.read() as connection:
        (newest,) = referrals.newest(connection, ["r1"])
    assert newest.payload["eTag"] == "v2"


def test_a_version_that_is_known_already_leaves_the_quarantine_and_opens_nothing(warehouse: Warehouse) -> None:
    for _ in range(2):
        write_page(warehouse, f"[{A_DAY}]")
        finish(warehouse, windows(1))
        replayed = replay(warehouse)
    assert replayed == Replayed(known_already=1)
    assert kept(warehouse) == []
    with warehouse.read() as connection:
        assert len(ledger.covered(connection)) == 1


def test_a_replay_that_fails_leaves_everything_as_it_was(warehouse: Warehouse) -> None:
    write_page(warehouse, f"[{A_DAY}]")
    finish(warehouse, windows(1))

    def unstorable(_text: str, _reason: str) -> ReferralVersion:
        return make_version("r1", FIRST + 1, content_hash=None)  # type: ignore[arg-type]

    with pytest.raises(WarehouseError):
        replay(warehouse, unstorable)
    assert (len(kept(warehouse)), stored(warehouse)) == (1, {})
    with warehouse.read() as connection:
        assert len(ledger.covered(connection)) == 1


def test_what_a_list_shows_holds_no_payload() -> None:
    row = Kept("f1", None, "no_id", "id", FIRST, NOW, NOW, 1)
    assert row.shown()["window"] == "2026-03-01-00:00"
    assert datetime(2026, 3, 1, tzinfo=UTC) < row.shown()["first_seen"]
    assert set(row.shown()) == {
        "fingerprint", "referral_id", "reason", "path", "window", "first_seen", "last_seen", "attempts",
        "resolution", "resolved_at", "resolved_by", "resolved_because",
    }  # fmt: skip


# Leaving --------------------------------------------------------------------------------------------------------------


def resolved(warehouse: Warehouse) -> list[tuple[str | None, str | None]]:
    """The referral and the resolution of each row that left."""
    with warehouse.read() as connection:
        return [(row.referral_id, row.resolution) for row in quarantine.load(connection, resolved=True)]


NUL = text_of(1, name=r'"a\u0000b"')


@pytest.mark.parametrize(
    "clean",
    [text_of(1), text_of(1, eTag='"v2"', updatedDateTime='"2026-03-01T00:05:00Z"')],
    ids=["of the same instant", "newer"],
)
def test_a_row_leaves_by_itself_when_its_referral_comes_clean(clean: str, warehouse: Warehouse) -> None:
    write_page(warehouse, f"[{NUL}]")
    assert (len(kept(warehouse)), resolved(warehouse)) == (1, [])
    write_page(warehouse, f"[{text_of(2)}]", "other rows")
    assert (len(kept(warehouse)), resolved(warehouse)) == (1, [])
    write_page(warehouse, f"[{clean}]", "later")
    assert (kept(warehouse), resolved(warehouse)) == ([], [("r1", "clean")])
    with warehouse.read() as connection:
        assert quarantine.counts(connection) == {}


def test_an_older_version_of_its_referral_leaves_a_row_where_it_is(warehouse: Warehouse) -> None:
    write_page(warehouse, f"[{NUL}]")
    older = text_of(1, updatedDateTime='"2026-03-01T00:00:59Z"')
    write_page(warehouse, f"[{older}]", "later")
    assert (len(kept(warehouse)), resolved(warehouse)) == (1, [])


def test_a_row_that_breaks_the_contract_again_is_open_again(warehouse: Warehouse) -> None:
    for run_id, page in (("one", NUL), ("two", text_of(1)), ("three", NUL)):
        write_page(warehouse, f"[{page}]", run_id)
    (row,) = kept(warehouse)
    assert (row.attempts, row.resolution, resolved(warehouse)) == (2, None, [])


def test_a_row_without_an_id_leaves_when_its_content_is_taken_in(warehouse: Warehouse) -> None:
    """As after a change of the contract: the fingerprint is that of the content."""
    item = decode(text_of(1).encode())
    as_broken = RejectedRow(Breach.NO_ID, "id", None, fingerprint(payload_text(item)), payload_text(item))
    ingest = begin(warehouse, windows(1), "one")
    ingest.write(make_page([], windows(1)[0].end, [as_broken], last=True))
    assert len(kept(warehouse)) == 1
    write_page(warehouse, f"[{text_of(1)}]", "two")
    assert (kept(warehouse), resolved(warehouse)) == ([], [(None, "clean")])


def test_a_replayed_row_shows_that_it_was(warehouse: Warehouse) -> None:
    write_page(warehouse, f"[{A_DAY}]")
    assert replay(warehouse).loaded == 1
    assert resolved(warehouse) == [("r1", "replayed")]


def test_a_discarded_row_stays_away_when_it_comes_again_and_says_who_when_and_why(warehouse: Warehouse) -> None:
    write_page(warehouse, f"[{NUL}]")
    (row,) = kept(warehouse)
    with warehouse.write() as connection:
        quarantine.discard(connection, [row.fingerprint], "ayse", "a test referral", LATER)
    write_page(warehouse, f"[{NUL}]", "later")
    assert kept(warehouse) == []
    with warehouse.read() as connection:
        assert quarantine.counts(connection) == {}
        (gone,) = quarantine.load(connection, resolved=True)
    assert (gone.resolved_by, gone.resolved_because, gone.resolved_at) == ("ayse", "a test referral", LATER)
    assert gone.attempts == 2
    other = text_of(1, name=r'"c\u0000d"')
    write_page(warehouse, f"[{other}]", "other content")
    assert len(kept(warehouse)) == 1
