"""A kept row is read anew as it was sent, or not at all."""

import json
from typing import Any

import pytest

from partner_center_pipeline.partner_center.contract import decode, read_referral, reread
from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow

GOOD = '{"id": "r1", "eTag": "v1", "updatedDateTime": "2026-03-01T00:00:00Z", "status": "New"'


def kept(body: str) -> RejectedRow:
    """What the contract makes of a row with this JSON."""
    row = read_referral(decode(body.encode()))
    assert isinstance(row, RejectedRow)
    return row


def test_a_row_that_passes_today_is_the_version_it_would_have_been() -> None:
    body = GOOD + ', "details": {"dealValue": 1.0, "notes": "ğ"}}'
    expected = read_referral(decode(body.encode()))
    assert isinstance(expected, ReferralVersion)
    text = json.dumps(expected.payload, sort_keys=True)  # as a contract that was stricter once had kept it
    assert reread(text, "bad_updated") == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (GOOD.replace('"id": "r1"', '"id": ""') + "}", Breach.BAD_ID),
        (GOOD.replace("2026-03-01T00:00:00Z", "yesterday") + "}", Breach.BAD_UPDATED),
        (GOOD + r', "name": "a\u0000b"}', Breach.UNSTORABLE_TEXT),
        (GOOD + r', "name": "\ud83d"}', Breach.UNSTORABLE_TEXT),
        (GOOD + ', "n": 1e999}', Breach.UNSTORABLE_NUMBER),
        (GOOD + ', "n": ' + "9" * 5000 + "}", Breach.UNSTORABLE_NUMBER),
        (GOOD + ', "n": ' + "[" * 300 + "]" * 300 + "}", Breach.TOO_DEEP),
        (GOOD + ', "n": NaN}', Breach.UNSTORABLE_NUMBER),
        ("[1]", Breach.NOT_AN_OBJECT),
    ],
    ids=["id", "instant", "NUL", "surrogate", "huge number", "long number", "deep", "NaN", "list"],
)
def test_what_breaks_the_contract_today_still_does(body: str, reason: Breach) -> None:
    row = kept(body)
    assert reread(row.payload_text, str(row.reason)) is reason


def test_a_row_that_was_not_kept_as_it_was_sent_is_not_taken_in() -> None:
    """The huge number stands in the kept text as text: such a row would pass, and would not be Microsoft's."""
    row = kept(GOOD + ', "details": {"dealValue": 1e999}}')
    assert isinstance(read_referral(decode(row.payload_text.encode())), ReferralVersion)
    assert reread(row.payload_text, str(row.reason)) is Breach.UNSTORABLE_NUMBER


def test_a_text_deeper_than_anything_reads_is_too_deep() -> None:
    deep: Any = "[" * 100_000 + "]" * 100_000
    assert reread(deep, "no_id") is Breach.TOO_DEEP
