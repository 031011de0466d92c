"""The Public Suffix List is matched as it says itself, and as tldextract matches it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tldextract import TLDExtract

from partner_center_pipeline.leads.known_domains import SOLD_PRIVATE_SUFFIXES
from partner_center_pipeline.leads.suffixes import Registrable, registrable

_extract = TLDExtract(suffix_list_urls=(), cache_dir=None)
_rules = sorted(rule for rule in _extract.tlds if rule.isascii())
_labels = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=5)


@given(st.lists(_labels, max_size=3), st.sampled_from(_rules), _labels)
def test_registrable_domains_are_those_of_tldextract(labels: list[str], rule: str, wild: str) -> None:
    name = ".".join([*labels, rule.lstrip("!").replace("*", wild)])
    found = registrable(name)
    if found is None:
        assert not _extract(name).top_domain_under_public_suffix
    elif not any(name.endswith(f".{sold}") for sold in SOLD_PRIVATE_SUFFIXES):
        assert found.domain == _extract(name).top_domain_under_public_suffix


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("a.b.firma.com", "firma.com"),
        ("a.b.c.kawasaki.jp", "b.c.kawasaki.jp"),
        ("c.kawasaki.jp", None),
        ("a.city.kawasaki.jp", "city.kawasaki.jp"),
        ("www.ck", "www.ck"),
        ("a.ck", None),
        ("com", None),
        ("firma.xn--p1ai", "firma.xn--p1ai"),
        ("firma.test", None),
    ],
)
def test_wildcards_and_exceptions_hold(name: str, domain: str | None) -> None:
    assert registrable(name) == (domain and Registrable(domain, hosted=False))


def test_every_sold_suffix_is_a_private_one_of_the_list() -> None:
    private = TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True).tlds
    assert set(private) - set(_extract.tlds) >= SOLD_PRIVATE_SUFFIXES
