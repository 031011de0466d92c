"""What a row must hold to be a referral's version, and what happens to one that does not."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.partner_center.contract import decode, read_referral
from partner_center_pipeline.referral import Breach, ReferralVersion, RejectedRow
from partner_center_pipeline.windows import parse_ticks

SAMPLES = Path(__file__).parents[1] / "data" / "referral_samples"
GOOD = {"id": "r-1", "updatedDateTime": "2026-03-01T10:00:00.5Z", "eTag": '"e-1"'}

text = st.text(st.characters(codec=None)) | st.sampled_from(["id", "\x00", "\ud800", "2026-03-01T10:00:00Z"])
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
rows = json_values | st.fixed_dictionaries(
    {"id": json_values, "updatedDateTime": json_values, "eTag": json_values}, optional={"name": json_values}
)


def version(**changes: Any) -> ReferralVersion:
    read = read_referral(GOOD | changes)
    assert isinstance(read, ReferralVersion)
    return read


def rejected(item: object) -> RejectedRow:
    read = read_referral(item)
    assert isinstance(read, RejectedRow)
    return read


@pytest.mark.parametrize("name", ["single_referral", "created_referral", "updated_referral"])
def test_microsofts_own_samples_are_read(name: str) -> None:
    payload = decode((SAMPLES / f"{name}.json").read_bytes())
    read = read_referral(payload)
    assert isinstance(read, ReferralVersion)
    assert (read.referral_id, read.etag, read.payload) == (payload["id"], payload["eTag"], payload)
    assert read.updated_ticks == parse_ticks(payload["updatedDateTime"])


def test_a_list_page_without_etags_is_read_and_versions_differ_by_content() -> None:
    page = decode((SAMPLES / "list_page.json").read_bytes())
    for item in page["value"]:
        read = read_referral(item)
        assert isinstance(read, ReferralVersion)
        assert read.etag is None
        assert read.version == read.content_hash[:32]


@pytest.mark.slow
@given(rows)
def test_no_json_value_makes_it_raise(item: Any) -> None:
    read = read_referral(item)
    if isinstance(read, ReferralVersion):
        assert orjson.loads(orjson.dumps(read.payload)) == item
        assert parse_ticks(read.updated_text) == read.updated_ticks
        assert 0 < len(read.version) <= 256
    else:
        read.payload_text.encode("ascii")
        assert "\x00" not in read.payload_text
        assert json.loads(read.payload_text) == item
        assert read.fingerprint == rejected(item).fingerprint


@pytest.mark.slow
@given(rows)
def test_a_row_reads_the_same_whichever_decoder_its_page_needed(item: Any) -> None:
    alone = json.dumps({"value": [item]}).encode()
    with_a_bad_neighbour = json.dumps({"value": [item, "\ud800"]}).encode()
    assert read_referral(decode(alone)["value"][0]) == read_referral(decode(with_a_bad_neighbour)["value"][0])


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "1" * 300, "0.1", "-0.0", "1e300"])
def test_a_number_reads_the_same_whichever_decoder_its_page_needed(number: str) -> None:
    item = b'{"id": "r-1", "updatedDateTime": "2026-03-01T10:00:00Z", "value": %s}' % number.encode()
    read = read_referral(decode(b'{"value": [%s]}' % item)["value"][0])
    assert isinstance(read, ReferralVersion)
    assert read == read_referral(decode(b'{"value": [%s, "\\ud800"]}' % item)["value"][0])


@pytest.mark.parametrize(
    ("item", "reason", "path"),
    [
        (None, Breach.NOT_AN_OBJECT, ""),
        ("text", Breach.NOT_AN_OBJECT, ""),
        ([GOOD], Breach.NOT_AN_OBJECT, ""),
        ({**GOOD, "id": None}, Breach.NO_ID, "id"),
        ({"updatedDateTime": GOOD["updatedDateTime"]}, Breach.NO_ID, "id"),
        ({**GOOD, "id": ""}, Breach.BAD_ID, "id"),
        ({**GOOD, "id": " "}, Breach.BAD_ID, "id"),
        ({**GOOD, "id": 7}, Breach.BAD_ID, "id"),
        ({**GOOD, "id": "x" * 3000}, Breach.BAD_ID, "id"),
        ({"id": "r-1"}, Breach.NO_UPDATED, "updatedDateTime"),
        ({**GOOD, "updatedDateTime": None}, Breach.NO_UPDATED, "updatedDateTime"),
        ({**GOOD, "updatedDateTime": "yesterday"}, Breach.BAD_UPDATED, "updatedDateTime"),
        ({**GOOD, "updatedDateTime": "2026-02-30T00:00:00Z"}, Breach.BAD_UPDATED, "updatedDateTime"),
        ({**GOOD, "updatedDateTime": 1772359200}, Breach.BAD_UPDATED, "updatedDateTime"),
        ({**GOOD, "name": "a\x00b"}, Breach.UNSTORABLE_TEXT, ""),
        ({**GOOD, "na\x00me": 1}, Breach.UNSTORABLE_TEXT, ""),
        ({**GOOD, "name": "\ud83d"}, Breach.UNSTORABLE_TEXT, ""),
    ],
)
def test_a_row_that_breaks_the_contract_is_rejected_with_the_reason(item: object, reason: Breach, path: str) -> None:
    read = rejected(item)
    assert (read.reason, read.path) == (reason, path)
    assert json.loads(read.payload_text) == item


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_number_that_json_does_not_have_is_one_rows_problem(number: str) -> None:
    page = decode(b'{"value": [{"id": "r-1", "dealValue": %s}, {"id": "r-2"}]}' % number.encode())
    assert rejected(page["value"][0]).reason is Breach.UNSTORABLE_NUMBER
    assert rejected(page["value"][1]).reason is Breach.NO_UPDATED


@pytest.mark.parametrize(
    "spoiled",
    [b'"\\ud83d"', b'"\xff"', b'"\xc3"', b'"a\x01b"', b'"a\tb"'],
    ids=["half", "byte", "cut", "control", "tab"],
)
def test_one_spoiled_text_does_not_lose_its_page(spoiled: bytes) -> None:
    good = orjson.dumps(GOOD)
    page = decode(b'{"value": [%s, {"id": "r-2", "name": %s}, %s]}' % (good, spoiled, good))
    assert len(page["value"]) == 3
    assert read_referral(page["value"][0]) == read_referral(page["value"][2]) == read_referral(GOOD)


def test_a_row_nested_too_deeply_is_rejected_and_its_neighbour_is_not() -> None:
    deep = b"[" * 900 + b"]" * 900
    page = decode(b'{"value": [{"id": "r-1", "x": %s}, %s]}' % (deep, orjson.dumps(GOOD)))
    assert (rejected(page["value"][0]).reason, rejected(page["value"][0]).referral_id) == (
        Breach.TOO_DEEP,
        "r-1",
    )
    assert read_referral(page["value"][1]) == read_referral(GOOD)


@pytest.mark.parametrize("body", [b"", b"{", b'{"value": [', b"<html></html>", b"[" * 100_000, b"\xff\xfe"])
def test_a_body_that_is_no_json_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is the decoder's own
        decode(body)


def test_a_byte_order_mark_is_no_obstacle() -> None:
    assert decode(b"\xef\xbb\xbf" + orjson.dumps(GOOD)) == GOOD


@pytest.mark.parametrize("ids", [[], {}, None, [{"profileType": "Duns", "id": ""}], "unheard of"])
def test_ids_of_any_shape_and_unknown_fields_and_values_load(ids: object) -> None:
    payload = {"customerProfile": {"ids": ids, "name": "R&amp;B"}, "status": "Paused", "forecast": {"x": [1]}}
    assert version(**payload).payload == GOOD | payload


@pytest.mark.parametrize("digits", range(8))
def test_zero_to_seven_fraction_digits_are_kept_to_the_tick(digits: int) -> None:
    fraction = "1234567"[:digits]
    written = f"2026-03-01T10:00:00{'.' if digits else ''}{fraction}Z"
    read = version(updatedDateTime=written)
    assert read.updated_text == written
    assert read.updated_ticks == parse_ticks("2026-03-01T10:00:00Z") + int(fraction.ljust(7, "0"))


@pytest.mark.parametrize("etag", [None, "", 7, ["x"], "x" * 3000])
def test_an_etag_that_cannot_be_kept_is_left_out(etag: object) -> None:
    read = version(eTag=etag)
    assert (read.etag, read.version) == (None, read.content_hash[:32])


def test_the_content_hash_does_not_depend_on_the_order_of_keys() -> None:
    turned = read_referral(dict(reversed(GOOD.items())))
    assert isinstance(turned, ReferralVersion)
    assert turned.content_hash == version().content_hash
    assert version(name="x").content_hash != version().content_hash


def test_a_backslash_before_u0000_is_plain_text() -> None:
    assert version(name="C:\\u0000").payload["name"] == "C:\\u0000"
    assert rejected({**GOOD, "name": "C:\\\x00"}).reason is Breach.UNSTORABLE_TEXT


def test_a_rejected_rows_id_is_named_only_when_a_database_can_hold_it() -> None:
    assert rejected({"id": "r-1"}).referral_id == "r-1"
    assert rejected({"id": "r\x00"}).referral_id is None
    assert rejected({"id": "\ud800"}).referral_id is None
