"""The customers of the simulated world: names and domains, computed from an index and found again by domain.

Not here: a company's mail (`mail_setups`), its referrals (`payloads`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files
from math import gcd
from typing import Any, Final

import idna

from partner_center_simulator.seeded_random import Draw

VOCABULARY: Final[Mapping[str, Any]] = json.loads(
    files("partner_center_simulator").joinpath("data/vocabulary.json").read_text(encoding="utf-8")
)
"""The words that names and payloads are made of: data/vocabulary.json."""

_FOLD: Final = str.maketrans("ÇĞIİÖŞÜÂçğıiöşüâ", "cgiiosuacgiiosua")
_SUFFIX_PERCENTS: Final = ((50, "com.tr"), (36, "com"), (6, "tr"), (4, "org.tr"), (2, "net"), (2, "gen.tr"))


@lru_cache(maxsize=4096)
def ascii_slug(text: str) -> str:
    """Return the text as an ASCII host label: Turkish letters as ASCII ones, all but letters and digits removed."""
    return "".join(letter for letter in text.translate(_FOLD).lower() if letter.isascii() and letter.isalnum())


@dataclass(frozen=True, slots=True)
class Company:
    """A customer. `domain` is registrable, lower-case, punycode; `unicode_domain` is how a person writes it."""

    name: str
    domain: str
    unicode_domain: str
    city: str
    postal_code: str
    size: str | None

    @property
    def tenant_name(self) -> str:
        """The first label of its `.onmicrosoft.com` name, if it has a tenant."""
        return tenant_name(self.domain)


def tenant_name(domain: str) -> str:
    """Return the first label of the `.onmicrosoft.com` name for a company domain."""
    return domain.split(".", 1)[0].replace("-", "")[:27]


class Companies:
    """The companies of a seed, one for each index from 0. They are computed when needed; nothing is stored."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._brands: list[str] = VOCABULARY["brands"]
        self._sectors: list[str] = VOCABULARY["sectors"]
        self._count = len(self._brands) * len(self._sectors)
        draw = Draw(seed, "companies")
        self._shift = draw.below(self._count)
        self._step = 1 + draw.below(self._count)
        while gcd(self._step, self._count) != 1:
            self._step += 1
        self._inverse_step = pow(self._step, -1, self._count)

    def company(self, index: int) -> Company:
        """Return the company of an index.

        The seed decides the order of the (brand, sector) pairs. After the last pair they repeat with a number behind.
        """
        generation, place = divmod(index, self._count)
        brand_at, sector_at = divmod((place * self._step + self._shift) % self._count, len(self._sectors))
        brand, sector = self._brands[brand_at], self._sectors[sector_at]
        draw = Draw(self._seed, "company", index)
        suffix = draw.weighted(_SUFFIX_PERCENTS)
        number = str(generation + 1) if generation else ""
        hyphen = "-" if draw.chance(8) else ""
        label = f"{ascii_slug(brand)}{hyphen}{ascii_slug(sector)}{number}"
        unicode_label = label
        if draw.chance(3) and brand.isalpha():
            unicode_label = f"{_lower(brand)}{hyphen}{_lower(sector)}{number}"
        city, postal_code = draw.pick(VOCABULARY["cities"])
        legal_form = draw.pick(VOCABULARY["legal_forms"])
        name = " ".join(part for part in (brand, sector, number, legal_form) if part)
        if draw.chance(10):
            name = name.replace("i", "İ").upper()
        domain = f"{unicode_label}.{suffix}"
        ascii_domain = domain if domain.isascii() else idna.encode(domain).decode()
        return Company(
            name=name,
            domain=ascii_domain,
            unicode_domain=domain,
            city=city,
            postal_code=postal_code,
            size=draw.pick(VOCABULARY["sizes"]),
        )

    def owner(self, domain: str) -> Company | None:
        """Return the company that owns the domain (registrable, lower-case, punycode), or None."""
        label = domain.split(".", 1)[0]
        if label.startswith("xn--"):
            try:
                label = idna.decode(label)
            except idna.IDNAError:
                return None
        slug = ascii_slug(label)
        name = slug.rstrip("0123456789")
        pair = self._pairs.get(name)
        number = slug[len(name) :]
        if pair is None or number in ("0", "1") or number.startswith("0"):
            return None
        place = (pair - self._shift) * self._inverse_step % self._count
        company = self.company((int(number) - 1 if number else 0) * self._count + place)
        return company if company.domain == domain else None

    @cached_property
    def _pairs(self) -> dict[str, int]:
        width = len(self._sectors)
        return {
            ascii_slug(brand) + ascii_slug(sector): brand_at * width + sector_at
            for brand_at, brand in enumerate(self._brands)
            for sector_at, sector in enumerate(self._sectors)
        }


def _lower(text: str) -> str:
    return text.replace("İ", "i").replace("I", "ı").replace("â", "a").lower()
