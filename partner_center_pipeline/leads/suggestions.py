"""Companies that may be the same, and leads without a domain that may belong to one: for a person to decide.

Nothing is merged because of this (identity.md, "Suggested matches"). Not here: names and their keys (`names`), which
candidates are compared and where suggestions are stored (`warehouse`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from itertools import chain, product
from operator import attrgetter
from typing import Final, NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from partner_center_pipeline.leads.known_domains import FILLER_WORDS, NOBODYS_NAMES, ONE_WORD, TRADE_WORDS

BLOCK_LETTERS: Final = 4
"""First letters that two names must share to be compared at all.

Measured on 4,500 names of a brand and a trade with one typing error anywhere, and on 10,800 with two trades in another
order: 4 letters keep 68 % and 96 % of them in their block, 5 letters 60 % and 85 %, because many first words have four.
Blocks are 15 % larger for it, and a comparison takes 0.2 microseconds.
"""

SHORTEST_NAME: Final = 3
"""Letters of the shortest key that is compared: many companies share two initials."""

LONGEST_NAME: Final = 300
"""Letters of the longest key that is compared. Registered names stay below that; comparing two texts of 25,000 letters
takes 0.1 s, and a window may bring hundreds of them.
"""

ALIKE_NAMES: Final = 85
"""Of 100: how alike two names have to be. One typing error in seven letters (6/7 is 85.7), two in fourteen.

The whole name alone is not enough, by any measure of rapidfuzz: `Yıldız Elektrik` and `Yıldız Elektronik` (94 of 100),
or `İstanbul 1. Noterliği` and `İstanbul 2. Noterliği` (95), are more alike than names with two typing errors. So the
words have to be alike too. Measured with both rules: of the 108,091 pairs of different names in one block none
is suggested, and 96 % of the names mistyped once within their block are.
"""

ALIKE_WORDS: Final = 75
"""Of 100: how alike two words have to be to count as one word mistyped. One error in four letters."""

GROUP_LETTERS: Final = 8
"""Characters of a group's id: short enough to type. Two of 10,000 groups have the same by a chance of 1 %."""

_CERTAIN: Final = 100
_SAME_WORDS: Final = 99
_WORDS_KEPT: Final = 2
"""Words that stay when fillers are dropped: `Yıldız Teknoloji` is not `Yıldız`."""

_PLURAL: Final = re.compile(r"(?<=\w{4})(?:leri|lari|ler|lar)\b")
_DIGIT: Final = re.compile(r"\d")
_GENERIC: Final = FILLER_WORDS | TRADE_WORDS | NOBODYS_NAMES


class MatchKind(StrEnum):
    """What may belong to a company."""

    COMPANY = "company"
    """Another company: the two may be one."""
    LEAD = "lead"
    """A lead without a domain."""


class MatchReason(StrEnum):
    """Why a match is suggested. Of several reasons the first in this order, the alphabetical one, counts."""

    ASCII_KEY = "ascii_key"
    """The domains read the same in ASCII letters: ılgaz.com.tr and ilgaz.com.tr."""
    SAME_NAME = "same_name"
    """The names have one comparison key."""
    SIMILAR_NAME = "similar_name"
    """The names differ by typing errors; or by order, blanks, plurals, spellings or fillers alone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A company, or a lead without a domain (a lead that has one belongs to its company already).

    `id` is the company's domain in punycode, or the referral's id. `domain_ascii_key` is the domain's `ascii_key`, None
    for a lead. `name_key` is `CompanyName.key`. `country` is the address's, a code such as TR.
    """

    kind: MatchKind
    id: str
    domain_ascii_key: str | None
    name_key: str | None
    country: str | None


@dataclass(frozen=True, slots=True, order=True)
class Suggestion:
    """`subject` may be, or belong to, the company `domain`. Of two companies the smaller domain is the subject.

    `subject` is a domain or a referral's id, as `kind` says. `similarity` is 100 for one key of domain or name, and
    `ALIKE_NAMES` to 99 for similar names: 99 where no letter is mistyped. The suggestions of one `group_id` say the
    same of the same two names, so that a person decides about them at once.
    """

    kind: MatchKind
    subject: str
    domain: str
    reason: MatchReason
    similarity: int
    group_id: str = field(default="", compare=False)


def group_of(reason: str, *sides: str) -> str:
    """Return the group of a suggestion: the same for each pair of these two names (or domains, where one has no name).

    `sides` are comparison keys of names (`CompanyName.key`), in any order.
    """
    return sha256("\n".join((reason, *sorted(sides))).encode()).hexdigest()[:GROUP_LETTERS]


class _Name(NamedTuple):
    """A name for comparison: its words, the words in alphabetical order, and joined in their own order."""

    key: str
    words: tuple[str, ...]
    ordered: str
    joined: str
    companies: list[Candidate]
    """Those that have it."""
    leads: list[Candidate]


def name_block(name_key: str | None) -> str | None:
    """Return the block of a comparison key (`CompanyName.key`): names are compared within one block only.

    It is the first `BLOCK_LETTERS` letters without blanks. None for a name that is not compared: one shorter than
    `SHORTEST_NAME`, longer than `LONGEST_NAME`, or only of trades, fillers and placeholders (`teknoloji`), which many
    companies share.
    """
    if name_key is None:
        return None
    joined = name_key.replace(" ", "")
    if not SHORTEST_NAME <= len(joined) <= LONGEST_NAME or _GENERIC.issuperset(_singulars(name_key)):
        return None
    return joined[:BLOCK_LETTERS]


def suggest(subjects: Iterable[Candidate], others: Iterable[Candidate]) -> list[Suggestion]:
    """Return the likely matches of candidates of one side with those of the other; each pair once, sorted.

    Two companies match by the ASCII key of their domains or by name, a lead and a company by name, two leads never.
    The sides may be exchanged, and may share candidates: none matches itself. Never raises.

    Names match only where the countries do, or one is unknown: across a border one name is two companies more often
    than one. Domains that read the same match wherever their companies say they are.
    """
    ours, theirs = tuple(subjects), tuple(others)
    best: dict[tuple[MatchKind, str, str], Suggestion] = {}
    for found in chain(_by_ascii_key(ours, theirs), _by_name(ours, theirs)):
        key = (found.kind, found.subject, found.domain)
        if key not in best or found < best[key]:
            best[key] = found
    return sorted(best.values())


def _by_ascii_key(ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> Iterator[Suggestion]:
    same = defaultdict(list)
    for other in theirs:
        same[other.domain_ascii_key].append(other)
    for one in ours:
        if one.domain_ascii_key is not None:
            for other in same.get(one.domain_ascii_key, ()):
                group = group_of(MatchReason.ASCII_KEY, *(side.name_key or side.id for side in (one, other)))
                yield from _suggestion(one, other, MatchReason.ASCII_KEY, _CERTAIN, group)


def _by_name(ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> Iterator[Suggestion]:
    for one, other in _near(ours, theirs):
        if one.key == other.key:
            reason, similarity = MatchReason.SAME_NAME, _CERTAIN
        else:
            reason, similarity = MatchReason.SIMILAR_NAME, _similarity(one, other)
            if similarity < ALIKE_NAMES:
                continue
        group = group_of(reason, one.key, other.key)
        for pair in chain(
            product(one.companies, (*other.companies, *other.leads)), product(one.leads, other.companies)
        ):
            if _may_share_country(*pair):
                yield from _suggestion(*pair, reason, similarity, group)


def _suggestion(
    one: Candidate, other: Candidate, reason: MatchReason, similarity: int, group: str
) -> Iterator[Suggestion]:
    """Yield the suggestion about a pair; none for a candidate and itself, and for two leads."""
    if one.kind is other.kind is MatchKind.COMPANY and one.id != other.id:
        yield Suggestion(MatchKind.COMPANY, min(one.id, other.id), max(one.id, other.id), reason, similarity, group)
    elif one.kind is not other.kind:
        lead, company = (one, other) if one.kind is MatchKind.LEAD else (other, one)
        yield Suggestion(MatchKind.LEAD, lead.id, company.id, reason, similarity, group)


def _may_share_country(one: Candidate, other: Candidate) -> bool:
    return not one.country or not other.country or one.country == other.country


def _near(ours: Sequence[Candidate], theirs: Sequence[Candidate]) -> Iterator[tuple[_Name, _Name]]:
    """Yield the pairs of names of one block that are alike as a whole, ordered or joined; each pair once."""
    blocks = _blocks(theirs)
    for block, names in _blocks(ours).items():
        near = blocks.get(block, [])
        pairs: set[tuple[int, int]] = set()
        for text in (attrgetter("ordered"), attrgetter("joined")):
            texts = [text(name) for name in near]
            for number, name in enumerate(names):
                found = process.extract(
                    text(name),
                    texts,
                    scorer=OSA.normalized_similarity,
                    score_cutoff=ALIKE_NAMES / 100,
                    limit=None,
                )
                pairs.update((number, place) for _, _, place in found)
        for number, place in pairs:
            yield names[number], near[place]


def _blocks(candidates: Sequence[Candidate]) -> dict[str, list[_Name]]:
    """Return the names of candidates by their block, each name once: many leads may have it."""
    names: dict[str, _Name] = {}
    blocks: dict[str, list[_Name]] = defaultdict(list)
    for candidate in candidates:
        key = candidate.name_key
        block = name_block(key)
        if block is None or key is None:
            continue
        name = names.get(key)
        if name is None:
            words = _compared_words(key)
            name = names[key] = _Name(key, words, " ".join(sorted(words)), "".join(words), [], [])
            blocks[block].append(name)
        (name.companies if candidate.kind is MatchKind.COMPANY else name.leads).append(candidate)
    return blocks


def _compared_words(name_key: str) -> tuple[str, ...]:
    words = _singulars(name_key)
    for place in reversed(range(len(words))):
        if len(words) > _WORDS_KEPT and words[place] in FILLER_WORDS:
            del words[place]
    return tuple(words)


def _singulars(name_key: str) -> list[str]:
    return [ONE_WORD.get(word, word) for word in _PLURAL.sub("", name_key).split()]


def _similarity(one: _Name, other: _Name) -> int:
    """Return how alike two names are, 0 to 99; 0 when they differ by more than typing errors."""
    if one.ordered == other.ordered or one.joined == other.joined:
        return _SAME_WORDS
    ours, theirs = Counter(one.words), Counter(other.words)
    only_ours, only_theirs = sorted((ours - theirs).elements()), sorted((theirs - ours).elements())
    if len(only_ours) != len(only_theirs) or not all(map(_is_mistyped, only_ours, only_theirs)):
        return 0
    likeness = max(
        OSA.normalized_similarity(one.ordered, other.ordered), OSA.normalized_similarity(one.joined, other.joined)
    )
    return int(100 * likeness)


def _is_mistyped(word: str, other: str) -> bool:
    """Say whether two different words may be the same; never numbers (`1. Noterlik`, `2. Noterlik`) or two trades."""
    if _DIGIT.search(word + other) or _GENERIC.issuperset((word, other)):
        return False
    return 100 * OSA.normalized_similarity(word, other) >= ALIKE_WORDS
