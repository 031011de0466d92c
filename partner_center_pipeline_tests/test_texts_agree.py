"""Each text says the same in both languages: where one denies something, the other does."""

import re
import tomllib
from collections.abc import Iterator

import pytest

from partner_center_pipeline import texts
from partner_center_pipeline.scoring.rules import DEFAULT_RULES

Pair = tuple[str, str]
"""A text in English and in Turkish."""

_DENIAL = re.compile(
    r"\b(?:no|not|never|neither|nobody|nothing|without|cannot|none|unknown|absent|invalid|nodata|nxdomain)\b|\bno_",
    re.I,
)
_TURKISH_DENIAL = re.compile(
    r"\byok\w*|\bdeğil\w*|\bhiç\w*|\bbilinm\w+|\w+m[ae]d[ıi]\b|\w+[ıiuüae]m[ıiuü]yor\w*|\bolma(?:dan|yan|yabilir|ma)\w*"
    r"|\w+s[ıiuü]z\b|\bne\b.+\bne\b|\bgeçersiz\w*",
    re.I,
)
_HAS = re.compile(r"\b(?:var|vardır)\b", re.I)
_HAS_NOT = re.compile(r"\byok(?:tur|muş)?\b", re.I)
_CODE = re.compile(r"\([^)]*=[^)]*\)")
"""What stands in both languages alike, such as (p=none)."""


def _reasons() -> dict[str, Pair]:
    read = tomllib.loads(DEFAULT_RULES.read_text(encoding="utf-8"))["reasons"]
    return {code: (_CODE.sub("", text["en"]), _CODE.sub("", text["tr"])) for code, text in read.items()}


def _others() -> Iterator[tuple[str, Pair]]:
    for table, entries in tomllib.loads(texts.FILE.read_text(encoding="utf-8")).items():
        for key, text in entries.items():
            yield f"{table}.{key}", (text["en"], text["tr"])


def _agree(pair: Pair) -> bool:
    """Whether both deny or neither does."""
    english, turkish = pair
    return bool(_DENIAL.search(english)) == bool(_TURKISH_DENIAL.search(turkish))


def _may_have(pair: Pair) -> bool:
    """Whether `yok` (there is none) stands beside a denial, and `var` (there is) without another denial beside none."""
    english, turkish = pair
    if _HAS_NOT.search(turkish):
        return bool(_DENIAL.search(english))
    return not _HAS.search(turkish) or bool(_TURKISH_DENIAL.search(turkish)) or not _DENIAL.search(english)


@pytest.mark.parametrize("code", [code for code in _reasons() if not code.startswith("provider_")])
def test_a_reason_denies_in_both_languages_or_in_neither(code: str) -> None:
    assert _agree(_reasons()[code])


def test_every_other_text_has_or_has_not_the_same_in_both_languages() -> None:
    pairs = dict(_others())
    assert len(pairs) > 200
    assert [key for key, pair in pairs.items() if not _may_have(pair)] == []


def _opposite(turkish: str) -> str:
    return _HAS_NOT.sub("var", turkish) if _HAS_NOT.search(turkish) else _HAS.sub("yok", turkish)


@pytest.mark.parametrize(
    "code", ["spf_present", "no_spf", "dkim_present", "dmarc_absent", "microsoft_tenant", "co_sell"]
)
def test_the_opposite_of_a_reason_in_turkish_is_noticed(code: str) -> None:
    english, turkish = _reasons()[code]
    assert _opposite(turkish) != turkish
    assert not _agree((english, _opposite(turkish)))


def test_the_opposite_of_any_other_text_with_yok_is_noticed() -> None:
    said = [pair for _, pair in _others() if _HAS_NOT.search(pair[1])]
    noticed = [pair for pair in said if not _may_have((pair[0], _opposite(pair[1])))]
    assert len(noticed) >= 0.7 * len(said) > 10
