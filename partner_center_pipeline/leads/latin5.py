"""Turkish text that was read in the wrong encoding: windows-1254 (or ISO 8859-9) taken for Latin-1.

Six letters differ between the two: `ÝSTANBUL ... LTD. ÞTÝ.` is İSTANBUL ... LTD. ŞTİ. Source: the code charts of
ISO 8859-1 and 8859-9 (unicode.org/Public/MAPPINGS/ISO8859). Not here: UTF-8 that was read wrongly, which ftfy repairs
(`names`).
"""

import re
from typing import Final

from partner_center_pipeline.leads.folding import fold_key
from partner_center_pipeline.leads.known_domains import (
    ABBREVIATED_TRADES,
    FILLER_WORDS,
    LEGAL_FORMS,
    TRADE_WORDS,
    TURKISH_PROVINCES,
)

_LETTERS: Final = str.maketrans("ÝýÞþÐð", "İıŞşĞğ")
_MISREAD: Final = re.compile("[ÝýÞþÐð]")
_ELSEWHERE: Final = re.compile(
    r"(?i:[áéíóúæàèìòùãõñøåčďěňřšťůžľĺŕôäß])"  # Icelandic, Faroese, Czech, Slovak, Turkmen
    r"|\b(?i:e?hf|ohf|slf|sp/f|p/f|spol|s\.\s?r\.\s?o|k\.\s?s)\b"  # their companies' legal forms
    r"|[aeiouöüAEIOUÖÜ]ý|ý[aeiouöü]|\bÝ[oöuüOÖUÜ]"  # a consonant, as in Turkmen: no vowel stands beside ı
)
_SIGN: Final = re.compile(
    r"[ğĞışŞİçÇüÜ]"  # letters of Turkish that the languages above do not have
    r"|\bÝ"  # no word of theirs begins so
    r"|\bA\.?\s?Þ\b"  # A.Ş.
    r"|\B[Þþ]"  # stands at the beginning in Icelandic
    r"|[ÝýÞþÐð][^\W\d_]*[ÝýÞþÐð]"  # two in one word
)
_TURKISH_WORDS: Final = LEGAL_FORMS | ABBREVIATED_TRADES | TRADE_WORDS | FILLER_WORDS | TURKISH_PROVINCES | {"ltd sti"}


_PIECES: Final = re.compile("Å[žŸ]|Ä[±°Ÿž]")
"""The UTF-8 of Ş, ş, ı, İ, ğ and Ğ read as windows-1252; alone in a text they are too little for ftfy."""


def read_as_turkish(text: str, *, of_turkey: bool = False) -> str:
    """Return the text with the six letters as they were meant, where it is Turkish; otherwise unchanged.

    `of_turkey`: it is known to be about a company in Turkey, so no other sign is needed.

    It is Turkish by a letter, by where such a letter stands, or by a word that companies' names in Turkey have. Names
    in the languages that have these letters themselves (`Þórsmörk ehf.`, `Nový Bor s.r.o.`) stay as they are.
    """
    text = _PIECES.sub(lambda found: found[0].encode("cp1252").decode(), text)
    if not _MISREAD.search(text) or _ELSEWHERE.search(text):
        return text
    meant = text.translate(_LETTERS)
    if of_turkey or _SIGN.search(text) or not _TURKISH_WORDS.isdisjoint(fold_key(meant).split()):
        return meant
    return text
