"""identity.md, "Company names": a likely match is a suggestion for a person, and what makes one likely."""

from itertools import product
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.leads import ascii_key, normalize_domain
from partner_center_pipeline.leads.names import company_name
from partner_center_pipeline.leads.suggestions import (
    ALIKE_NAMES,
    BLOCK_LETTERS,
    LONGEST_NAME,
    Candidate,
    MatchKind,
    MatchReason,
    Suggestion,
    name_block,
    suggest,
)
from partner_center_pipeline_tests.leads.strategies import any_text, texts
from partner_center_simulator.companies import VOCABULARY

COMPANY, LEAD = MatchKind.COMPANY, MatchKind.LEAD


def _key(name: str) -> str | None:
    return company_name(name).key


def _company(domain: str, name: str | None = None, country: str | None = None) -> Candidate:
    host = normalize_domain(domain)
    assert host is not None
    return Candidate(COMPANY, host, ascii_key(host), name and _key(name), country)


def _lead(referral_id: str, name: str, country: str | None = None) -> Candidate:
    return Candidate(LEAD, referral_id, None, _key(name), country)


def _match(name: str, other: str) -> tuple[MatchReason, int] | None:
    """The reason and similarity that two companies' names give."""
    found = suggest([_company("a.com", name)], [_company("b.com", other)])
    return (found[0].reason, found[0].similarity) if found else None


# The block


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("Öztürk Yazılım A.Ş.", "oztu"),
        ("OZTURK YAZILIM LTD", "oztu"),
        ("İş Bankası", "isba"),
        ("Isbankasi", "isba"),
        ("İSTANBUL GÜBRE", "ista"),
        ("ABC Ltd. Şti.", "abc"),
        ("华为技术有限公司", "华为技术"),
    ],
)
def test_a_block_is_the_first_letters_of_the_key_without_blanks(name: str, block: str) -> None:
    assert name_block(_key(name)) == block


@pytest.mark.parametrize("name", ["", "***", "A.B. Ltd.", "3M", "R&B"])
def test_a_name_of_less_than_three_letters_is_not_compared(name: str) -> None:
    assert name_block(_key(name)) is None


@pytest.mark.parametrize(
    "name",
    ["Teknoloji", "Teknoloji A.Ş.", "TEKNOLOJİLERİ", "Bilişim Teknolojileri Ltd. Şti.", "Makine San. ve Tic.", "Test",
     "Yazılım Danışmanlık Hizmetleri", "Demo Company", "Yok"],
)  # fmt: skip
def test_a_name_of_generic_words_only_is_not_compared(name: str) -> None:
    assert name_block(_key(name)) is None
    assert _match(name, name) is None


def test_a_generic_word_in_a_name_does_not_hinder() -> None:
    assert name_block(_key("Zirve Teknoloji")) == "zirv"


def test_a_text_that_is_too_long_for_a_name_is_not_compared() -> None:
    """Comparing takes the product of both lengths: a window of such texts would take hours."""
    assert name_block("a" * LONGEST_NAME) == "aaaa"
    assert name_block("a" * (LONGEST_NAME + 1)) is None
    long = "Firma " * 5_000
    assert _match(long, long) is None


def test_no_name_has_no_block() -> None:
    assert name_block(None) is None


@given(any_text)
def test_a_block_is_short_and_begins_the_key(text: str) -> None:
    key = _key(text)
    block = name_block(key)
    if block is not None:
        assert key is not None
        assert key.replace(" ", "").startswith(block)
        assert 3 <= len(block) <= BLOCK_LETTERS


# Names


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Öztürk Yazılım A.Ş.", "OZTURK YAZILIM LTD"),
        ("İstanbul Gübre San.", "ISTANBUL GUBRE A.Ş."),
        ("IĞDIR ÇELİK", "ığdır çelik"),
        ("Ã–nkoÅŸullar A.Ş.", "Önkoşullar Holding"),
        ("R&amp;B Danışmanlık", "R&B Danismanlik Ltd. Şti."),
    ],
)
def test_names_with_one_key_are_the_same(name: str, other: str) -> None:
    assert _match(name, other) == (MatchReason.SAME_NAME, 100)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Kuzey Ege Denizcilik", "Kuzey Denizcilik Ege"),
        ("Kuzey Bilişim Denizcilik", "Kuzey Denizcilik Bilişim"),
        ("Mega Soft Yazılım", "Megasoft Yazılım"),
        ("İş Bankası", "Isbankasi"),
        ("ABC Teknoloji", "ABC Teknolojileri"),
        ("Güneş Enerji Sistem", "Güneş Enerji Sistemleri"),
        ("Öztürk Yazılım Ltd. Şti.", "Öztürk Yazılım Bilişim Teknolojileri A.Ş."),
        ("Contoso Robotics Türkiye", "Contoso Robotics"),
        ("Yıldız Makina", "Yıldız Makine"),
        ("Sabancı Üniversitesi", "Sabanci University"),
    ],
)
def test_order_blanks_plurals_fillers_and_spellings_make_names_similar(name: str, other: str) -> None:
    assert _match(name, other) == (MatchReason.SIMILAR_NAME, 99)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Karaca Züccaciye", "Karaca Zücaciye"),
        ("Şahin Otomotiv", "Sahin Otomativ"),
        ("Boğaziçi Mühendislik", "Boğaziçi Mühendislki"),
        ("Yıldız Mobilya", "Yıldz Mobilya"),
        ("Fabrikam Robotics", "Fabrikam Robotic"),
    ],
)
def test_a_typing_error_makes_names_similar(name: str, other: str) -> None:
    found = _match(name, other)
    assert found is not None
    assert found[0] is MatchReason.SIMILAR_NAME
    assert ALIKE_NAMES <= found[1] < 99


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Ankara Ticaret Odası", "Ankara Sanayi Odası"),
        ("Ankara Büyükşehir Belediyesi", "Ankara Altındağ Belediyesi"),
        ("Anadolu Üniversitesi Tıp Fakültesi", "Anadolu Üniversitesi Diş Fakültesi"),
        ("İstanbul Kültür Üniversitesi", "İstanbul Üniversitesi"),
        ("İstanbul 1. Noterliği", "İstanbul 2. Noterliği"),
        ("Karadeniz Denizcilik Nakliyat", "Karadeniz Denizcilik Nakliyat Ege"),
        ("Yıldız Elektrik", "Yıldız Elektronik"),
        ("Yıldız Mobilya", "Yıldız Tekstil"),
        ("Yıldız Mobilya 2", "Yıldız Mobilya 3"),
        ("Anadolu Fuarı 2025", "Anadolu Fuarı 2026"),
        ("Yıldız Teknoloji", "Yıldız"),
        ("Deniz Tekstil", "Denizli Tekstil"),
        ("Kuzey Lojistik Taşımacılık Hizmetleri", "Kuzey Lastik Taşımacılık Hizmetleri"),
        ("Altın Emlak", "Altın Emek"),
        ("Kaya", "Kayar"),
    ],
)
def test_names_that_differ_in_a_word_of_meaning_do_not_match(name: str, other: str) -> None:
    assert _match(name, other) is None


def test_a_typing_error_in_a_very_long_name_is_still_one() -> None:
    name = " ".join(["onkosul"] * 40)
    assert _match(name, f"{name}x") == (MatchReason.SIMILAR_NAME, 99)


def test_names_of_different_countries_do_not_match() -> None:
    def found(country: str | None, other: str | None) -> int:
        return len(suggest([_company("a.com", "Delta", country)], [_company("b.com", "Delta", other)]))

    assert found("TR", "DE") == 0
    assert found("TR", "TR") == found("TR", None) == found(None, "DE") == found(None, None) == 1


@pytest.mark.slow
def test_no_two_companies_of_the_simulated_world_are_similar() -> None:
    everyone = _world()
    assert len(everyone) > 4000
    assert suggest(everyone, everyone) == []


@pytest.mark.slow
def test_nineteen_of_twenty_names_with_a_typing_error_are_found_in_their_block() -> None:
    chance = Random(7)  # noqa: S311  no secret hangs on it
    tried = found = 0
    for one in _world():
        assert one.name_key is not None
        mistyped = _mistype(one.name_key, chance)
        if mistyped != one.name_key and name_block(mistyped) == name_block(one.name_key):
            tried += 1
            found += bool(suggest([one], [Candidate(COMPANY, "other.com", None, mistyped, None)]))
    assert tried > 2500
    assert found / tried > 0.95


def _world() -> list[Candidate]:
    """The simulated world's companies, one for every brand and trade."""
    names = [f"{brand} {trade}" for brand, trade in product(VOCABULARY["brands"], VOCABULARY["sectors"])]
    return [_company(f"firma{number}.com", name) for number, name in enumerate(names)]


def _mistype(key: str, chance: Random) -> str:
    """The key with a letter lost, added, wrong, or exchanged with the next."""
    at = chance.randrange(len(key))
    before, letter, after = key[:at], key[at], key[at + 1 :]
    other = chance.choice("abcdefghijklmnoprstuvyz")
    return before + chance.choice([after, other + letter + after, other + after, after[:1] + letter + after[1:]])


# Domains


def test_domains_that_read_the_same_in_ascii_match_whatever_the_names_say() -> None:
    one, other = _company("ılgaz.com.tr", "Ilgaz Mobilya", "TR"), _company("ilgaz.com.tr", "Nova", "DE")
    expected = Suggestion(COMPANY, "ilgaz.com.tr", other_id := one.id, MatchReason.ASCII_KEY, 100)
    assert other_id.startswith("xn--")
    assert suggest([one], [other]) == [expected]


def test_of_two_reasons_the_domains_is_told() -> None:
    found = suggest([_company("ılgaz.com.tr", "Ilgaz")], [_company("ilgaz.com.tr", "Ilgaz")])
    assert [(each.reason, each.similarity) for each in found] == [(MatchReason.ASCII_KEY, 100)]


def test_a_domain_that_differs_in_its_suffix_reads_otherwise() -> None:
    assert suggest([_company("ılgaz.com.tr")], [_company("ilgaz.com")]) == []


# Pairs


def test_of_two_companies_the_smaller_domain_is_the_subject() -> None:
    one, other = _company("b.com", "Öztürk Yazılım"), _company("a.com", "Ozturk Yazilim")
    expected = [Suggestion(COMPANY, "a.com", "b.com", MatchReason.SAME_NAME, 100)]
    assert suggest([one], [other]) == suggest([other], [one]) == expected


def test_a_lead_without_a_domain_may_be_a_companys() -> None:
    lead, company = _lead("z-referral", "Öztürk Yazılım"), _company("ozturk.com.tr", "OZTURK YAZILIM LTD")
    expected = [Suggestion(LEAD, "z-referral", "ozturk.com.tr", MatchReason.SAME_NAME, 100)]
    assert suggest([lead], [company]) == suggest([company], [lead]) == expected


def test_two_leads_do_not_match() -> None:
    leads = [_lead("r1", "Öztürk Yazılım"), _lead("r2", "Öztürk Yazılım")]
    assert suggest(leads, leads) == []


def test_a_candidate_on_both_sides_does_not_match_itself_and_each_pair_is_told_once() -> None:
    everyone = [_company(f"{letter}.com", "Öztürk Yazılım") for letter in "cab"]
    found = suggest([*everyone, *everyone], everyone)
    assert [(each.subject, each.domain) for each in found] == [
        ("a.com", "b.com"),
        ("a.com", "c.com"),
        ("b.com", "c.com"),
    ]


# Properties

_WORDS = ("ozturk", "öztürk", "oztruk", "ozturkk", "yazilim", "yazılım", "teknoloji", "teknolojileri", "odasi",
          "ticaret", "sanayi", "1", "2", "elektrik", "elektronik", "ozt", "a", "ı", "字", "test", "")  # fmt: skip
_names = st.one_of(
    any_text,
    st.lists(st.sampled_from(_WORDS), max_size=4).map(" ".join),
    st.text("oztuüöğ 1", max_size=12),
)


@st.composite
def _candidates(draw: st.DrawFn) -> Candidate:
    # A key as the product makes them, or any text, for a row that older rules wrote.
    name = draw(st.none() | _names)
    key = name and (_key(name) if draw(st.booleans()) else name)
    country = draw(st.sampled_from([None, "TR", "DE"]))
    if draw(st.booleans()):
        return Candidate(LEAD, draw(st.sampled_from(["r1", "r2", "a.com"])), None, key, country)
    domain = draw(st.one_of(st.sampled_from(["a.com", "ılgaz.com", "ilgaz.com", "IŞIK.com", "ışık.com"]), texts))
    host = normalize_domain(domain) or "b.com"
    return Candidate(COMPANY, host, ascii_key(host), key, country)


_sides = st.lists(_candidates(), max_size=8)


@pytest.mark.slow
@given(_sides, _sides)
def test_the_sides_may_be_exchanged(subjects: list[Candidate], others: list[Candidate]) -> None:
    assert suggest(subjects, others) == suggest(others, subjects)


@pytest.mark.slow
@given(_sides, _sides, st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_matter(
    subjects: list[Candidate], others: list[Candidate], chance: Random
) -> None:
    mixed, others_mixed = chance.sample(subjects, len(subjects)), chance.sample(others, len(others))
    assert suggest(mixed, others_mixed) == suggest(subjects, others)


@pytest.mark.slow
@given(_sides, _sides)
def test_every_suggestion_keeps_the_rules(subjects: list[Candidate], others: list[Candidate]) -> None:
    found = suggest(subjects, others)
    assert found == sorted(found)
    assert len({(each.kind, each.subject, each.domain) for each in found}) == len(found)
    companies = {each.id for each in (*subjects, *others) if each.kind is COMPANY}
    leads = {each.id for each in (*subjects, *others) if each.kind is LEAD}
    for each in found:
        assert each.domain in companies
        assert each.subject in (leads if each.kind is LEAD else companies)
        assert each.kind is LEAD or each.subject < each.domain
        assert (each.similarity == 100) == (each.reason is not MatchReason.SIMILAR_NAME)
        assert ALIKE_NAMES <= each.similarity <= 100
        assert each.reason is not MatchReason.ASCII_KEY or each.kind is COMPANY


@pytest.mark.slow
@given(_sides, _sides)
def test_comparing_many_finds_what_comparing_two_finds(subjects: list[Candidate], others: list[Candidate]) -> None:
    pairs = {suggestion for one in subjects for other in others for suggestion in suggest([one], [other])}
    assert set(suggest(subjects, others)) <= pairs
    assert {(each.kind, each.subject, each.domain) for each in pairs} == {
        (each.kind, each.subject, each.domain) for each in suggest(subjects, others)
    }


@given(st.sampled_from(MatchReason), st.sampled_from(MatchReason))
def test_reasons_are_in_the_order_of_the_alphabet(one: MatchReason, other: MatchReason) -> None:
    reasons = list(MatchReason)
    assert (one < other) == (reasons.index(one) < reasons.index(other))
