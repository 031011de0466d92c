"""Which parts of a document are a person's, and what is left of them.

A *member* is an object with a person's fields: the contacts of the customer, the people of the partner and Microsoft
(partner_center_api.md, section 3.2). Of a member who is the person, every text and number is emptied; of e-mail
addresses the domain stays, which is the company's. In other texts only the address, the number or the name goes. Other
members are not touched, also where they share a number.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from partner_center_pipeline.leads.domains import mended
from partner_center_pipeline.privacy.identifiers import (
    Identifier,
    Keyed,
    Kind,
    Place,
    emails_in,
    name_key,
    names_in,
    phones_in,
)

GONE: Final = "***"
"""What stands in a text in the place of a number or a name."""

_PERSONS_FIELDS: Final = frozenset({"firstname", "lastname", "email", "phonenumber"})
_TEAM: Final = re.compile(r"(?:^|\.)team\[\d+\]$")
_NOT_OF_A_PERSON: Final = "contactPreference"
_COMPANYS: Final = frozenset(
    {
        "customerProfile.name",
        "organizationName",
        "inviteContext.organizationName",
        "company_name",
        "company_name_original",
    }
)
"""Fields with a company's name. One that is a person's name as a whole is that person's; in a longer one it stays."""
_KEPT: Final = frozenset(
    {
        "id", "eTag", "engagementId", "organizationId", "links", "createdDateTime", "updatedDateTime",
        "expirationDateTime", "acceptedDateTime", "closedDateTime", "status", "substatus", "type", "qualification",
        "direction", "target", "@odata.context",
    }
)  # fmt: skip
"""Fields of a referral that tell nothing of a person, and by which it is found and ordered."""
_DOMAINS_ONLY: Final = re.compile(r"@[\w.-]+(?: @[\w.-]+)*")
_MAY_BE_A_PHONE: Final = 10**6


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A keyed digest of an identifier of somebody who was erased.

    `person` is the same for all tombstones of one person: a keyed digest, too. `words` is how many words a name has.
    """

    person: str
    kind: Kind
    digest: str
    words: int | None = None


class Change(NamedTuple):
    """A part of a document that was emptied: its path, and what was there. It is personal data."""

    path: str
    before: Any


@dataclass(slots=True)
class Blanked:
    """What was taken out of a document. Nothing was where `changes` is empty, and the document is as it was.

    `known` are the identifiers of the members that were emptied, by person; `spared` counts members that share an
    identifier with a person but are somebody else.
    """

    changes: list[Change] = field(default_factory=list)
    known: set[tuple[str, Identifier]] = field(default_factory=set)
    spared: int = 0


class _Leaf(NamedTuple):
    holder: Any
    key: Any
    path: str
    value: Any


@dataclass(slots=True)
class _Member:
    path: str
    content: dict[str, Any]
    leaves: list[_Leaf] = field(default_factory=list)


class Tombstones:
    """The tombstones of a warehouse, and the rule that they are asked by. `keyed` made their digests."""

    def __init__(self, keyed: Keyed, stones: Iterable[Tombstone]) -> None:
        self._keyed = keyed
        self._persons: dict[str, set[str]] = defaultdict(set)
        self._kinds: dict[str, set[Kind]] = defaultdict(set)
        lengths: dict[Kind, set[int]] = defaultdict(set)
        for stone in stones:
            self._persons[stone.digest].add(stone.person)
            self._kinds[stone.person].add(stone.kind)
            if stone.words is not None:
                lengths[stone.kind].add(stone.words)
        self._lengths = frozenset(lengths[Kind.NAME])
        self._lengths_in_referrals = frozenset(lengths[Kind.REFERRAL_NAME])
        self._by_name_only = {
            person for person, kinds in self._kinds.items() if kinds.isdisjoint({Kind.EMAIL, Kind.PHONE})
        }
        self._known: dict[tuple[Kind, str], frozenset[str]] = {}

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self._persons)

    def persons(self, kind: Kind, key: str) -> frozenset[str]:
        """Return the persons who have an identifier."""
        found = self._known.get((kind, key))
        if found is None:
            found = frozenset(self._persons.get(self._keyed.digest(kind, key), ()))
            self._known[kind, key] = found
        return found

    def having(self, kind: Kind, key: str, scope: str | None) -> frozenset[str]:
        """Return the persons who have an identifier anywhere or in the referral `scope`."""
        found = self.persons(kind, key)
        return found if scope is None else found | self.persons(kind.in_referral, f"{scope}\n{key}")

    def blank(
        self, document: Any, referral_id: str | None = None, *, everybody: bool = False, any_name: bool = False
    ) -> Blanked:
        """Empty what is an erased person's in a JSON document, in place.

        `referral_id` is the referral that it is or belongs to. `everybody`: empty every member. `any_name`: look for
        names also of persons whom nothing else in the document names; for notes and the like, which have no members.
        """
        done = Blanked()
        root = [document]
        members, others = _parts(root)
        scope = referral_id if referral_id is not None and self.persons(Kind.REFERRAL, referral_id) else None
        texts = _Texts(self, scope, any_name=any_name)
        for member in members:
            persons = self._who(member, scope, done)
            if persons or everybody:
                identifiers = _identifiers(member)
                done.known |= {(person, one) for person in persons for one in identifiers}
                texts.of_member(identifiers, persons)
                _empty(member, done)
        found = [(leaf, texts.hits(leaf)) for leaf in others]
        for leaf, places in found:
            is_text = isinstance(leaf.value, str)
            after = texts.without(leaf, places) if is_text else (None if places else leaf.value)
            if after != leaf.value:
                done.changes.append(Change(leaf.path, leaf.value))
                leaf.holder[leaf.key] = after
        return done

    def _who(self, member: _Member, scope: str | None, done: Blanked) -> set[str]:
        """Return the erased persons that a member is."""
        emails = _emails(member)
        by_email = {person for key in emails for person in self.having(Kind.EMAIL, key, scope)}
        if by_email:
            return by_email
        names = _names(member) if self._lengths or scope is not None else set()
        if scope is not None:
            here = {person for name in names for person in self.persons(Kind.REFERRAL_NAME, f"{scope}\n{name}")}
            if here:
                return here
        phones = _phones(member)
        by_name = {person for name in names for person in self.persons(Kind.NAME, name)}
        by_phone = {person for key in phones for person in self.persons(Kind.PHONE, key)}
        found = set()
        for person in by_name | by_phone:
            kinds = self._kinds[person]
            is_another = (bool(emails) and Kind.EMAIL in kinds) or (
                person not in by_name and bool(names) and Kind.NAME in kinds
            )
            if not is_another:
                found.add(person)
        if not found and by_name | by_phone:
            done.spared += 1
        return found


class _Texts:
    """Looks for what is a person's in texts outside members, once the members of the document are known."""

    def __init__(self, stones: Tombstones, scope: str | None, *, any_name: bool) -> None:
        self._stones = stones
        self._scope = scope
        self._any_name = any_name
        self._emails: set[str] = set()
        self._phones: set[str] = set()
        self._names: set[str] = set()
        self._met: set[str] = set(stones._by_name_only)
        self._lengths = stones._lengths | (stones._lengths_in_referrals if scope is not None else frozenset())

    def of_member(self, identifiers: Iterable[Identifier], persons: Iterable[str]) -> None:
        """Look for what a member's fields hold, too."""
        self._met |= set(persons)
        for one in identifiers:
            {Kind.EMAIL: self._emails, Kind.PHONE: self._phones, Kind.NAME: self._names}[one.kind].add(one.key)
        self._lengths |= frozenset(len(name.split()) for name in self._names)

    def hits(self, leaf: _Leaf) -> list[Place]:
        """Return the addresses and numbers in a text that are a person's; note whose they are."""
        text = str(leaf.value)
        places = [
            *(place for place in emails_in(text) if self._is(Kind.EMAIL, place.key, self._emails)),
            *(place for place in phones_in(text) if self._is(Kind.PHONE, place.key, self._phones)),
        ]
        if not places and isinstance(leaf.value, str) and (whole := mended(text)) != text:
            places = [place for place in emails_in(whole) if self._is(Kind.EMAIL, place.key, self._emails)]
        return places

    def _is(self, kind: Kind, key: str, of_members: set[str]) -> bool:
        persons = self._stones.having(kind, key, self._scope)
        self._met |= persons
        return bool(persons) or key in of_members

    def without(self, leaf: _Leaf, places: Sequence[Place]) -> str | None:
        """Return a text without the places and without names; None for a company's name that is a person's."""
        text: str = leaf.value
        if places:
            torn = mended(text) if not self._stands_in(text, places) else text
            text = _cut(torn, self.hits(leaf._replace(value=torn)))
        if not self._lengths or not (self._met or self._names or self._any_name or self._scope is not None):
            return text
        if leaf.path in _COMPANYS:
            return None if self._is_name(name_key(text)) else text
        return _cut(text, [place for place in names_in(text, self._lengths) if self._is_name(place.key)])

    @staticmethod
    def _stands_in(text: str, places: Sequence[Place]) -> bool:
        return all(place in (*emails_in(text), *phones_in(text)) for place in places)

    def _is_name(self, name: str) -> bool:
        if name in self._names:
            return True
        scope = self._scope
        if scope is not None and self._stones.persons(Kind.REFERRAL_NAME, f"{scope}\n{name}"):
            return True
        persons = self._stones.persons(Kind.NAME, name)
        return bool(persons) if self._any_name else not persons.isdisjoint(self._met)


def _parts(root: list[Any]) -> tuple[list[_Member], list[_Leaf]]:
    """Return the members of a document, and the texts and numbers outside of them. Goes to any depth."""
    members: list[_Member] = []
    others: list[_Leaf] = []
    todo: list[tuple[Any, Any, str, _Member | None]] = [(root, 0, "", None)]
    while todo:
        holder, key, path, member = todo.pop()
        value = holder[key]
        if isinstance(value, dict):
            if member is None and _is_member(value, path):
                member = _Member(path, value)
                members.append(member)
            for name in value:
                if (holder is root and name in _KEPT) or (member is not None and name == _NOT_OF_A_PERSON):
                    continue
                todo.append((value, name, f"{path}.{name}" if path else str(name), member))
        elif isinstance(value, list):
            todo.extend((value, index, f"{path}[{index}]", member) for index in range(len(value)))
        elif isinstance(value, str) or (
            isinstance(value, int | float) and not isinstance(value, bool) and abs(value) >= _MAY_BE_A_PHONE
        ):
            (others if member is None else member.leaves).append(_Leaf(holder, key, path, value))
    members.reverse()
    others.reverse()
    return members, others


def _is_member(value: Mapping[str, Any], path: str) -> bool:
    names = {name.lower() for name in value} & _PERSONS_FIELDS
    return len(names) > 1 or (bool(names) and _TEAM.search(path) is not None)


def _identifiers(member: _Member) -> set[Identifier]:
    found = ((Kind.EMAIL, _emails(member)), (Kind.PHONE, _phones(member)), (Kind.NAME, _names(member)))
    return {Identifier(kind, key) for kind, keys in found for key in keys}


def _emails(member: _Member) -> set[str]:
    return {place.key for leaf in member.leaves for place in emails_in(mended(str(leaf.value)))}


def _phones(member: _Member) -> set[str]:
    return {place.key for leaf in member.leaves for place in phones_in(str(leaf.value))}


def _names(member: _Member) -> set[str]:
    """Return the keys of the names that a member has: first and last name in either order, and each text as a whole."""
    fields = {str(name).lower(): value for name, value in member.content.items() if isinstance(value, str)}
    first, last = fields.get("firstname", ""), fields.get("lastname", "")
    texts = [f"{first} {last}", f"{last} {first}"]
    texts += [
        leaf.value
        for leaf in member.leaves
        if isinstance(leaf.value, str) and str(leaf.key).lower() not in _PERSONS_FIELDS
    ]
    return {key for key in map(name_key, texts) if " " in key}


def _empty(member: _Member, done: Blanked) -> None:
    before = dict(member.content)
    changed = False
    for leaf in member.leaves:
        after = _domains(leaf.value) if isinstance(leaf.value, str) else None
        if after != leaf.value and leaf.value != "":
            leaf.holder[leaf.key] = after
            changed = True
    if changed:
        done.changes.append(Change(member.path, before))


def _domains(text: str) -> str | None:
    """Return what stays of a member's text: the domains of its addresses."""
    if _DOMAINS_ONLY.fullmatch(text):
        return text
    domains = dict.fromkeys(f"@{place.domain}" for place in emails_in(mended(text)))
    return " ".join(domains) or None


def _cut(text: str, places: Iterable[Place]) -> str:
    """Return a text with `@domain` or GONE in these places; of places that overlap, the first and longest counts."""
    parts, end = [], 0
    for place in sorted(places, key=lambda place: (place.start, -place.end)):
        if place.start < end:
            continue
        parts += [text[end : place.start], f"@{place.domain}" if place.domain else GONE]
        end = place.end
    return "".join((*parts, text[end:]))


def stones_of(keyed: Keyed, identifiers: Iterable[Identifier]) -> list[Tombstone]:
    """Return the tombstones of one person with these identifiers."""
    given = sorted(set(identifiers), key=lambda one: (one.kind, one.key))
    person = keyed.digest("person", "\n".join(f"{one.kind} {one.key}" for one in given))
    return [
        Tombstone(
            person,
            one.kind,
            keyed.digest(one.kind, one.key),
            len(one.key.split()) if one.kind is Kind.NAME else None,
        )
        for one in given
    ]


def stones_in_referral(keyed: Keyed, person: str, referral_id: str, known: Identifier) -> list[Tombstone]:
    """Return the tombstones by which a person is known by what a contact of one referral had, whatever else changes."""
    words = len(known.key.split()) if known.kind is Kind.NAME else None
    kind = known.kind.in_referral
    return [
        Tombstone(person, Kind.REFERRAL, keyed.digest(Kind.REFERRAL, referral_id)),
        Tombstone(person, kind, keyed.digest(kind, f"{referral_id}\n{known.key}"), words),
    ]
