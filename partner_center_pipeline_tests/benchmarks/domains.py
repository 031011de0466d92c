"""How many texts a second `normalize_domain` reads on one core, beside bare tldextract on the same texts.

The texts are what referrals bring: addresses, URLs, Turkish names, several values, rubbish. No company's host comes
twice, so that no cache helps. tldextract alone accepts rubbish, names one domain per text and knows no Turkish letters.
Not here: whether the domains are right, which is a test.
"""

import json
import time
from collections.abc import Callable
from random import Random
from typing import Final

import click
from tldextract import TLDExtract

from partner_center_pipeline.leads import normalize_domain

TEXTS: Final = 100_000
"""Texts of a round."""

ROUNDS: Final = 3
"""The best round counts: other processes of the machine slow the others down."""

_LETTERS: Final = "abcdefghijklmnoprstuvyz"
_TURKISH: Final = "çğıöşü"
_SUFFIXES: Final = ("com.tr", "com.tr", "com.tr", "com", "com", "net", "org.tr", "gov.tr", "tr", "de")
_FORMS: Final[tuple[tuple[int, Callable[[str, str], str]], ...]] = (
    (40, lambda host, _: f"ali.veli@{host}"),
    (12, lambda host, _: f"https://www.{host}/iletisim?dil=tr#adres"),
    (8, lambda host, _: f"www.{host}"),
    (8, lambda host, _: host),
    (4, lambda host, _: f"  {host.upper()}. "),
    (3, lambda host, _: f"Ali Veli <ali@{host}>"),
    (8, lambda host, other: f"ali@{host}; veli@{other}"),
    (3, lambda host, other: f"{host} ve {other}"),
    (2, lambda host, _: f"posta.mail.{host}:8080"),
    (2, lambda host, _: f"facebook.com/{host}"),
    (2, lambda host, _: f"{host}.local"),
    (2, lambda host, _: f"a_b.{host.partition('.')[0]} .com"),
    (6, lambda _, __: "yok"),
)


def mixed_texts(count: int, chance: Random) -> list[str]:
    """Texts as referrals bring them, each with hosts of its own; one label in ten is Turkish, some of them punycode."""

    def host() -> str:
        label = "".join(chance.choices(_LETTERS, k=chance.randint(6, 16)))
        if chance.random() < 0.1:
            label = label[:3] + chance.choice(_TURKISH) + label[3:]
            if chance.random() < 0.3:
                label = f"xn--{label.encode('punycode').decode('ascii')}"
        return f"{label}.{chance.choice(_SUFFIXES)}"

    weights = [weight for weight, _ in _FORMS]
    return [form(host(), host()) for _, form in chance.choices(_FORMS, weights, k=count)]


def per_cpu_second(read: Callable[[str], object], texts: list[str]) -> float:
    """How many of the texts are read in a second of CPU."""
    start = time.process_time()
    for text in texts:
        read(text)
    return len(texts) / (time.process_time() - start)


def main(count: int = TEXTS) -> None:
    """Print both speeds, in texts a second and core, and their ratio; the last line is the same as JSON."""
    extract = TLDExtract(suffix_list_urls=(), cache_dir=None)
    extract("firma.com.tr")  # reads the list, which is none of its speed
    ours, theirs = [], []
    for number in range(ROUNDS):
        texts = mixed_texts(count, Random(number))  # noqa: S311  no secret hangs on it
        ours.append(per_cpu_second(normalize_domain, texts))
        theirs.append(per_cpu_second(lambda text: extract(text).top_domain_under_public_suffix, texts))
    ratio = max(ours) / max(theirs)
    click.echo(f"normalize_domain  {max(ours):9,.0f} texts a second and core")
    click.echo(f"bare tldextract   {max(theirs):9,.0f} texts a second and core")
    click.echo(f"ratio             {ratio:9.2f}")
    figures = {"texts": count, "per_second": round(max(ours)), "tldextract_per_second": round(max(theirs))}
    click.echo(json.dumps({**figures, "ratio": round(ratio, 2)}))


@click.command()
def domains() -> None:
    """Measure how fast domains are normalised, beside bare tldextract.

    The last line is JSON: texts, per_second, tldextract_per_second, ratio.
    """
    main()
