"""A rules file is proven before it is used, and what is wrong with it is shown by line."""

import re
import tomllib
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from partner_center_pipeline.scoring import RulesError, Segment, load_rules
from partner_center_pipeline.scoring.model import CommercialSegment, ReasonCode
from partner_center_pipeline.scoring.rules import DEFAULT_RULES, Rules
from partner_center_pipeline.vocabulary import Language, Provider

DELIVERED = DEFAULT_RULES.read_text(encoding="utf-8")
LAST_SEGMENT_ROW = '[[segments]]\nsegment = "Skip"\nreadiness_max = 39\nreason = "low_readiness"\n'

Refused = Callable[[str, str], tuple[RulesError, int]]


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Replaces a text of the delivered rules by another and gives the refusal, and the line where the other begins."""

    def edit(old: str, new: str) -> tuple[RulesError, int]:
        assert DELIVERED.count(old) == 1, f"{old!r} is to occur once in rules.toml"
        path = tmp_path / "rules.toml"
        path.write_text(DELIVERED.replace(old, new), encoding="utf-8")
        with pytest.raises(RulesError) as caught:
            load_rules(path)
        assert caught.value.file == path
        return caught.value, DELIVERED[: DELIVERED.index(old)].count("\n") + 1

    return edit


def test_every_provider_has_exactly_one_segment_at_every_readiness() -> None:
    """The table of scoring.md, section 3, written out a second time as plain conditions."""

    def by_hand(provider: Provider, readiness: int) -> str:
        if provider is Provider.M365:
            return "Existing"
        if provider in {"Google", "Yandex", "Zoho", "Hosting", "Local"} and readiness >= 60:
            return "Migration"
        if (provider is Provider.LOCAL and 5 <= readiness <= 59) or readiness >= 40:
            return "Cold"
        return "Skip"

    rules = load_rules()
    for provider in Provider:
        for readiness in range(101):
            assert rules.segment_row(provider, readiness).segment == by_hand(provider, readiness)


def test_every_reachable_company_has_exactly_one_commercial_view() -> None:
    """The tables of scoring.md, section 6, written out a second time as plain conditions."""

    def by_hand(segment: Segment, provider: Provider, readiness: int) -> tuple[str, str, str]:
        if segment == "Migration":
            return ("GREENFIELD", "high", "P1") if provider in {"Local", "Hosting"} else ("COMPETITIVE", "high", "P2")
        if segment == "Existing" and readiness >= 70:
            return "RENEWAL", "medium", "P4"
        if segment == "Existing":
            return "WEAK_PARTNER", "high" if readiness >= 50 else "medium", "P3"
        if segment == "Cold" and provider is Provider.LOCAL:
            return "GREENFIELD", "high", "P1"
        return ("LOW_INTENT", "low", "P5") if segment == "Cold" else ("NO_GO", "low", "P6")

    rules = load_rules()
    for provider in Provider:
        for readiness in range(101):
            reachable = {rules.segment_row(provider, readiness).segment, Segment.EXISTING}
            if readiness == 0:
                reachable.add(Segment.SKIP)
            for segment in reachable:
                view = rules.view(segment, provider, readiness)
                seen = (view.commercial_segment, view.commercial_heat, view.category)
                assert seen == by_hand(segment, provider, readiness)


@pytest.mark.parametrize("code", ReasonCode)
def test_every_reason_has_a_text_in_each_language(code: ReasonCode) -> None:
    english, turkish = (load_rules().text(code, language) for language in Language)
    assert english
    assert turkish
    assert english != turkish
    assert load_rules().text(code) == english


def test_a_text_is_asked_for_by_a_known_code_and_language() -> None:
    with pytest.raises(ValueError, match="no_such_code"):
        load_rules().text("no_such_code")
    with pytest.raises(ValueError, match="de"):
        load_rules().text("no_mx", "de")


def test_the_delivered_rules_are_read_once_and_a_named_file_each_time(tmp_path: Path) -> None:
    assert load_rules() is load_rules()
    path = tmp_path / "rules.toml"
    path.write_text(DELIVERED, encoding="utf-8")
    assert load_rules(path) == load_rules()
    path.write_text(DELIVERED.replace('version = "3"', 'version = "3"'), encoding="utf-8")
    assert load_rules(path).version == "3"


def _first(rows: list[dict[str, Any]], readiness: int | None = None, **case: str) -> dict[str, Any] | None:
    """The first row of a table, as TOML has it, that a case matches."""
    for row in rows:
        named = all(value in row.get(name, [value]) for name, value in case.items())
        if named and (readiness is None or row.get("readiness_min", 0) <= readiness <= row.get("readiness_max", 100)):
            return row
    return None


def _holes(data: dict[str, Any]) -> int:
    """How many cases the tables of a rules file leave without an answer, told from the plain data."""
    holes = 0
    for provider, readiness in product(Provider, range(101)):
        row = _first(data["segments"], readiness, provider=provider)
        holes += row is None
        for segment in {row["segment"], "Existing", *(["Skip"] if readiness == 0 else [])} if row else set():
            commercial = _first(data["commercial_segments"], readiness, provider=provider, segment=segment)
            name = commercial["commercial_segment"] if commercial else ""
            holes += (
                _first(data["technical_heats"], provider=provider, segment=segment) is None
                or _first(data["commercial_heats"], readiness, commercial_segment=name) is None
                or _first(data["categories"], commercial_segment=name) is None
            )
    return holes


_ends = st.integers(0, 100)
_some_providers = st.none() | st.lists(st.sampled_from([*Provider]), min_size=1, max_size=9)
_segment_rows = st.lists(st.tuples(st.sampled_from(["Existing", "Migration", "Cold", "Skip"]), _some_providers, _ends))
_without = st.sampled_from(["", "commercial_segments", "technical_heats", "commercial_heats", "categories"])


@pytest.mark.slow
@settings(max_examples=60)
@given(rows=_segment_rows, ends_open=st.booleans(), without=_without, which=st.integers(0, 7))
def test_a_file_is_accepted_exactly_when_nothing_falls_through_its_tables(
    rows: list[tuple[str, list[Provider] | None, int]], ends_open: bool, without: str, which: int
) -> None:
    """Any segment table before a last row that may end at 39, and perhaps a row of another table taken out."""
    data = tomllib.loads(DELIVERED)
    made = [
        {"segment": segment, "reason": "some_readiness", "readiness_min": least}
        | ({"provider": [str(provider) for provider in providers]} if providers else {})
        for segment, providers, least in rows
    ]
    last = {"segment": "Skip", "reason": "low_readiness"} | ({} if ends_open else {"readiness_max": 39})
    data["segments"] = [*made, last]
    if without and which < len(data[without]):
        del data[without][which]
    if _holes(data):
        event("refused")
        with pytest.raises(ValidationError, match="no row of"):
            Rules.model_validate(data)
        return
    event("accepted")
    rules = Rules.model_validate(data)
    for provider, readiness in product(Provider, range(101)):
        found = _first(data["segments"], readiness, provider=provider)
        assert found is not None
        assert rules.segment_row(provider, readiness).segment == found["segment"]


def test_the_old_table_that_ended_row_4_at_59_is_refused(refused: Refused) -> None:
    """The old product's fault: Amazon at 60 fell through to the worse segment, or to none."""
    error, line = refused("readiness_min = 40\n", "readiness_min = 40\nreadiness_max = 59\n")
    assert "no row of segments matches provider Amazon at readiness 60 to 100" in str(error)
    assert error.line == _line_of("[[segments]]")
    assert line > error.line


def test_a_missing_last_row_is_refused(refused: Refused) -> None:
    error, _ = refused(LAST_SEGMENT_ROW, "")
    assert "no row of segments matches provider Google at readiness 0 to 39" in str(error)
    assert "Add a row" in error.next_step


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('segment = ["Existing"]\nreadiness_max = 69', 'segment = ["Existing"]\nreadiness_max = 68', "readiness 69"),
        ('segment = ["Skip"]', 'segment = ["Skip"]\nreadiness_min = 1', "Skip with provider M365 at readiness 0"),
        ('commercial_segment = "NO_GO"\nsegment = ["Cold"]', 'commercial_segment = "NO_GO"\nsegment = ["Skip"]', None),
    ],
)  # fmt: skip
def test_the_commercial_table_may_leave_out_only_what_no_company_can_be(
    tmp_path: Path, refused: Refused, old: str, new: str, problem: str | None
) -> None:
    """A tenant makes any readiness Existing, a hard failure makes Skip at 0; Cold at 19 or less is Local's alone."""
    if problem is not None:
        error, _ = refused(old, new)
        assert "no row of commercial_segments" in str(error)
        assert problem in str(error)
    else:
        path = tmp_path / "rules.toml"
        path.write_text(DELIVERED.replace(old, new), encoding="utf-8")
        assert load_rules(path).view(Segment.COLD, Provider.LOCAL, 5).commercial_segment is CommercialSegment.GREENFIELD


@pytest.mark.parametrize(
    ("old", "new", "table"),
    [
        ('[[technical_heats]]\ntechnical_heat = "Cold"\n', "", "technical_heats"),
        ('commercial_segment = ["LOW_INTENT", "NO_GO"]', 'commercial_segment = ["NO_GO"]', "commercial_heats"),
        ('commercial_segment = ["NO_GO"]', 'commercial_segment = ["RENEWAL"]', "categories"),
    ],
)  # fmt: skip
def test_heats_and_categories_are_proven_too(refused: Refused, old: str, new: str, table: str) -> None:
    error, _ = refused(old, new)
    assert f"no row of {table} matches" in str(error)
    assert error.line == _line_of(f"[[{table}]]")


def test_a_row_that_an_earlier_one_covers_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(DELIVERED.replace(LAST_SEGMENT_ROW, LAST_SEGMENT_ROW * 2), encoding="utf-8")
    assert load_rules(path).segment_row(Provider.GOOGLE, 0).segment is Segment.SKIP


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('version = "3"', 'version = "3"\nauthor = "x"', "author"),
        ("spf_includes_max = 3", "spf_includes_maximum = 3", "readiness.spf_includes_maximum"),
        ("Yandex = 30", "Yandeks = 30", "readiness.provider.Yandeks"),
        ("dmarc_reject = 20", "dmarc_rejects = 20", "readiness.signal.dmarc_rejects"),
        ("dmarc_absent = 0", "co_sell = 15", "readiness.signal.co_sell"),
        ("readiness_min = 40", "readyness_min = 40", "segments.4.readyness_min"),
        ('act = "monthly"', 'action = "monthly"', "categories.5.action"),
        ('tr = "DMARC kaydı yok"', 'de = "Kein DMARC"', "reasons.dmarc_absent.de"),
        ("[reasons.co_sell]", "[reasons.cosell]", "reasons.cosell"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line(refused: Refused, old: str, new: str, key: str) -> None:
    error, line = refused(old, new)
    assert f"unknown key {key}" in str(error)
    assert error.line == line + new.count("\n")
    assert f", line {error.line}:" in str(error)


def test_a_line_is_found_behind_a_value_of_several_lines(refused: Refused) -> None:
    error, line = refused(
        'provider = ["M365"]', 'provider = [\n  "M365", # its own\n\n  "Google",\n]\nproviders = [\n  "Local"\n]'
    )
    assert "unknown key segments.1.providers" in str(error)
    assert error.line == line + 5


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("Yandex = 30", "Yandex = 30.5", r"readiness\.provider\.Yandex: .*integer"),
        ('segment = "Skip"', 'segment = "Pending"', r"segments\.5\.segment: .*'Existing'"),
        ('provider = ["M365"]', 'provider = ["Microsoft"]', r"segments\.1\.provider\.1: .*'M365'"),
        ('provider = ["M365"]', "provider = []", r"segments\.1\.provider: .*at least 1"),
        ("readiness_max = 39", "readiness_max = 101", r"segments\.5\.readiness_max: .*100"),
        ('reason = "m365_mail"', 'reason = "because"', r"segments\.1\.reason"),
        ('en = "No DMARC record"', 'en = " "', r"reasons\.dmarc_absent\.en: .*at least 1"),
    ],
)
def test_a_value_out_of_its_set_is_refused_with_its_line(refused: Refused, old: str, new: str, problem: str) -> None:
    error, line = refused(old, new)
    assert re.search(problem, error.problem)
    assert error.line == line


def test_a_range_that_runs_backwards_is_refused_at_its_row(refused: Refused) -> None:
    error, line = refused(
        "readiness_min = 5\nreadiness_max = 59\nreason", "readiness_min = 60\nreadiness_max = 59\nreason"
    )
    assert "readiness_min 60 is above readiness_max 59" in error.problem
    assert error.line == line - 3


@pytest.mark.parametrize(
    ("old", "missing", "table"),
    [
        ('tr = "DMARC kaydı yok"\n', "tr is missing in reasons.dmarc_absent", "[reasons.dmarc_absent]"),
        ("Yandex = 30\n", "readiness.provider lacks Yandex. Add it.", "[readiness.provider]"),
        ("dmarc_absent = 0\n", "readiness.signal lacks dmarc_absent", "[readiness.signal]"),
        ("spf_includes_max = 3 ", "spf_includes_max is missing in readiness", "[readiness]"),
    ],
)
def test_what_is_missing_is_named_at_its_table(refused: Refused, old: str, missing: str, table: str) -> None:
    error, _ = refused(old, "")
    assert missing in str(error)
    assert error.line == _line_of(table)


def test_a_reason_without_texts_is_refused(refused: Refused) -> None:
    section = DELIVERED[DELIVERED.index("[reasons.co_sell]") : DELIVERED.index("[reasons.score_limit]")]
    error, _ = refused(section, "")
    assert "reasons lacks co_sell" in str(error)


def test_a_file_of_ones_own_from_before_version_2_keeps_working(tmp_path: Path) -> None:
    """It has neither rates, nor Turkish labels, nor the reasons that came with version 2."""
    old = re.sub(r"\n(label_tr|act_tr) = .*", "", DELIVERED)
    old = old[: old.index("[money]")] + old[old.index("# --- Section 8") :]
    for code in ("no_domain", "response_was_due", "sales_qualified", "marketing_qualified"):
        old = re.sub(rf"\[reasons\.{code}\]\nen = .*\ntr = .*\n", "", old)
    assert old.count("[reasons.") == len(ReasonCode) - 4
    path = tmp_path / "rules.toml"
    path.write_text(old, encoding="utf-8")
    rules = load_rules(path)
    assert (rules.money, rules.rates) == (None, {})
    assert rules.text("response_was_due", "tr") == load_rules().text("response_was_due", "tr")
    assert rules.texts()["Renewal Pressure"].tr == "Renewal Pressure"


def test_the_delivered_rates_name_the_usual_currencies_and_their_day() -> None:
    rules = load_rules()
    assert {"TRY", "EUR", "USD", "GBP", "CHF"} <= rules.rates.keys()
    assert len(rules.rates) >= 15
    assert rules.rates["TRY"] == 1
    assert rules.money is not None
    assert rules.money.reporting_currency == "TRY"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("USD = 47.5", "USD = 0", "greater than or equal"),
        ("USD = 47.5", "USD = -1", "greater than or equal"),
        ("USD = 47.5", "USD = inf", "finite"),
        ("USD = 47.5", 'USD = "much"', "decimal"),
        ("TRY = 1", "TRY = 2", "the rate of TRY, the reporting currency, is 1"),
        ('reporting_currency = "TRY"', 'reporting_currency = "lira"', "pattern"),
        ("rates_date = 2026-11-02", 'rates_date = "in autumn"', "date"),
    ],
)
def test_a_rate_that_cannot_be_one_is_refused(refused: Refused, old: str, new: str, problem: str) -> None:
    error, line = refused(old, new)
    assert "money" in error.problem
    assert problem in error.problem
    assert error.line is not None
    assert error.line <= line


def test_a_currency_is_three_capital_letters(refused: Refused) -> None:
    error, line = refused("USD = 47.5", "usd = 47.5")
    assert "money.rates.usd" in error.problem
    assert error.line == line


def test_a_turkish_act_without_an_act_is_refused(refused: Refused) -> None:
    error, _ = refused('act = "monthly"\n', "")
    assert "act_tr is the Turkish text of `act`, which is missing" in error.problem


def test_a_missing_version_is_refused(refused: Refused) -> None:
    error, _ = refused('version = "3"\n', "")
    assert "version is missing" in str(error)
    assert error.line is None


def test_what_is_not_toml_is_refused_with_its_line(refused: Refused) -> None:
    error, line = refused("Yandex = 30", "Yandex 30")
    assert "is not TOML" in str(error)
    assert error.line == line


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot be read"):
        load_rules(tmp_path / "nowhere.toml")
    latin = tmp_path / "latin.toml"
    latin.write_bytes('version = "ğ"'.encode("iso8859-9"))
    with pytest.raises(RulesError, match="not UTF-8"):
        load_rules(latin)


def _line_of(text: str) -> int:
    return DELIVERED[: DELIVERED.index(text)].count("\n") + 1
