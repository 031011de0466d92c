"""The DNS records of the companies, their tenants and the mail providers (mail_signals.md).

The domain's name decides a company's mail set-up. Not here: zones in general (`zone`), who the companies are
(`companies`).
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from partner_center_simulator.companies import Companies, tenant_name
from partner_center_simulator.faults import DnsFault
from partner_center_simulator.seeded_random import Draw, guid
from partner_center_simulator.zone import Zone, normalized

Setup = dict[str, dict[str, Any]]
"""Records by full name, as `Zone.add` takes them."""


class Mailbox(StrEnum):
    """Where a company's mail is."""

    M365 = "m365"
    M365_NEW = "m365, the MX and DKIM names of today"
    M365_GATEWAY = "m365 behind a gateway"
    GOOGLE = "google"
    GOOGLE_GATEWAY = "google behind a gateway"
    YANDEX = "yandex"
    ZOHO = "zoho"
    AMAZON = "amazon"
    SENDGRID = "sendgrid"
    MAILGUN = "mailgun"
    HOSTING = "a hoster"
    LOCAL = "its own host name"
    LOCAL_M365 = "its own host name with m365 behind"
    GATEWAY = "a gateway with nothing known behind"
    NULL_MX = "null MX"
    NO_MX = "no MX"
    PARKED = "parking"
    NXDOMAIN = "no such domain"
    BROKEN = "name servers that fail"


_MAILBOX_PERCENTS: Final = (
    (25, Mailbox.M365), (5, Mailbox.M365_NEW), (5, Mailbox.M365_GATEWAY), (9, Mailbox.GOOGLE),
    (1, Mailbox.GOOGLE_GATEWAY), (8, Mailbox.YANDEX), (3, Mailbox.ZOHO), (2, Mailbox.AMAZON), (1, Mailbox.SENDGRID),
    (1, Mailbox.MAILGUN), (17, Mailbox.HOSTING), (8, Mailbox.LOCAL), (2, Mailbox.LOCAL_M365), (3, Mailbox.GATEWAY),
    (1, Mailbox.NULL_MX), (2, Mailbox.NO_MX), (1, Mailbox.PARKED), (4, Mailbox.NXDOMAIN), (2, Mailbox.BROKEN),
)  # fmt: skip

WITH_TENANT: Final = frozenset({Mailbox.M365, Mailbox.M365_NEW, Mailbox.M365_GATEWAY, Mailbox.LOCAL_M365})
"""The set-ups of companies that have a tenant."""

_GATEWAYS: Final = (
    ("mx1-eu1.ppe-hosted.com", "mx2-eu1.ppe-hosted.com"),
    ("mxa-0010ab01.gslb.pphosted.com", "mxb-0010ab01.gslb.pphosted.com"),
    ("eu-smtp-inbound-1.mimecast.com", "eu-smtp-inbound-2.mimecast.com"),
    ("d11111a.ess.barracudanetworks.com", "d11111b.ess.barracudanetworks.com"),
    ("esa1.example1.eu.iphmx.com", "esa2.example1.eu.iphmx.com"),
    ("cluster1.eu.messagelabs.com", "cluster2.eu.messagelabs.com"),
    ("mx1.hornetsecurity.com", "mx2.hornetsecurity.com"),
    ("firma1.in.tmes.trendmicro.eu",),
    ("mx-01-eu-central-1.prod.hydra.sophos.com",),
    ("gw1.fortimailcloud.com",),
)
_HOSTERS: Final = (
    ("mx01.natrohost.com", "natrohost.com"),
    ("mail.kurumsaleposta.com", "kurumsaleposta.com"),
    ("mx1.turhost.com", "turhost.com"),
    ("mx.isimtescil.net", "isimtescil.net"),
    ("mx1.veridyen.com", "veridyen.com"),
    ("mail.turkticaret.net", "turkticaret.net"),
    ("mx.guzelhosting.com", "guzelhosting.com"),
    ("mx1.uzmanposta.com", "uzmanposta.com"),
    ("mx.yaanimail.com", "yaanimail.com"),
    ("smtp.secureserver.net", "secureserver.net"),
    ("mx1.hostinger.com", "hostinger.com"),
    ("mx1.titan.email", "titan.email"),
    ("mx1.mail.ovh.net", "ovh.net"),
    ("mx00.ionos.de", "ionos.de"),
)
_PROVIDERS: Final = {
    Mailbox.GOOGLE: (
        (1, "aspmx.l.google.com"), (5, "alt1.aspmx.l.google.com"), (10, "alt3.aspmx.l.google.com"),
    ),
    Mailbox.YANDEX: ((10, "mx.yandex.net"),),
    Mailbox.ZOHO: ((10, "mx.zoho.eu"), (20, "mx2.zoho.eu")),
    Mailbox.AMAZON: ((10, "inbound-smtp.eu-west-1.amazonaws.com"),),
    Mailbox.SENDGRID: ((10, "mx.sendgrid.net"),),
    Mailbox.MAILGUN: ((10, "mxa.mailgun.org"), (10, "mxb.mailgun.org")),
}  # fmt: skip
_SPF: Final = {
    Mailbox.GOOGLE: "include:_spf.google.com",
    Mailbox.YANDEX: "redirect=_spf.yandex.net",
    Mailbox.ZOHO: "include:zoho.eu",
    Mailbox.AMAZON: "include:amazonses.com",
    Mailbox.SENDGRID: "include:sendgrid.net",
    Mailbox.MAILGUN: "include:mailgun.org",
}
_DKIM_SELECTORS: Final = {
    Mailbox.GOOGLE: "google",
    Mailbox.YANDEX: "mail",
    Mailbox.ZOHO: "zoho",
    Mailbox.SENDGRID: "s1",
    Mailbox.MAILGUN: "k1",
    Mailbox.HOSTING: "default",
    Mailbox.LOCAL: "default",
}

_KEY: Final = "v=DKIM1; k=rsa; p=" + "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA" * 8 + "QIDAQAB"
"""A DKIM key with the length of a 2048-bit key, so that it needs more than one TXT string."""
_REVOKED_KEY: Final = "v=DKIM1; k=rsa; p="

_SHARED_NAMES: Final[Setup] = {
    # Mail providers: the targets of SPF includes and CNAMEs.
    "spf.protection.outlook.com": {"TXT": ["v=spf1 ip4:40.92.0.0/15 ip4:40.107.0.0/16 ip4:52.100.0.0/15 -all"]},
    "_spf.google.com": {"TXT": ["v=spf1 include:_netblocks.google.com include:_netblocks2.google.com ~all"]},
    "_netblocks.google.com": {"TXT": ["v=spf1 ip4:35.190.247.0/24 ip4:64.233.160.0/19 ~all"]},
    "_netblocks2.google.com": {"TXT": ["v=spf1 ip6:2001:4860:4000::/36 ~all"]},
    "_spf.yandex.net": {"TXT": ["v=spf1 include:_spf-ipv4.yandex.net include:_spf-ipv6.yandex.net ~all"]},
    "_spf-ipv4.yandex.net": {"TXT": ["v=spf1 ip4:5.45.192.0/19 ip4:77.88.0.0/18 ~all"]},
    "_spf-ipv6.yandex.net": {"TXT": ["v=spf1 ip6:2a02:6b8::/32 ~all"]},
    "zoho.eu": {"TXT": ["v=spf1 ip4:185.230.212.0/22 -all"], "MX": [(10, "smtpin.zoho.eu")]},
    "amazonses.com": {"TXT": ["v=spf1 ip4:199.255.192.0/22 ip4:54.240.0.0/18 -all"]},
    "sendgrid.net": {"TXT": ["v=spf1 ip4:167.89.0.0/17 ip4:208.117.48.0/20 -all"]},
    "mailgun.org": {"TXT": ["v=spf1 include:_spf.mailgun.org -all"]},
    "_spf.mailgun.org": {"TXT": ["v=spf1 ip4:209.61.151.0/24 ~all"]},
    "_netblocks.mimecast.com": {"TXT": ["v=spf1 ip4:195.130.217.0/24 ip4:91.220.42.0/24 ~all"]},
    "autodiscover.outlook.com": {"CNAME": ["autod.ha-autod.office.com"]},
    "autod.ha-autod.office.com": {"A": ["192.0.2.10"]},
    "enterpriseregistration.windows.net": {"A": ["192.0.2.11"]},
    "webdir.online.lync.com": {"A": ["192.0.2.12"]},
    # Consumer mail.
    "gmail.com": {
        "MX": [(5, "gmail-smtp-in.l.google.com")],
        "TXT": ["v=spf1 redirect=_spf.google.com"],
    },
    "_dmarc.gmail.com": {"TXT": ["v=DMARC1; p=none; sp=quarantine; rua=mailto:mailauth-reports@google.com"]},
    "hotmail.com": {"MX": [(2, "hotmail-com.olc.protection.outlook.com")], "TXT": ["v=spf1 ip4:157.55.9.128/25 ~all"]},
    "hotmail.com.tr": {"MX": [(2, "hotmail-com-tr.olc.protection.outlook.com")]},
    "outlook.com": {"MX": [(5, "outlook-com.olc.protection.outlook.com")]},
    "superonline.com": {"MX": [(10, "mail.superonline.com")]},
}

_WILDCARDS: Final = (
    "mail.protection.outlook.com", "olc.protection.outlook.com", "mx.microsoft", "google.com", "googlemail.com",
    "yandex.net", "zoho.eu", "amazonaws.com", "sendgrid.net", "mailgun.org", "sedoparking.com",
    *(host.split(".", 1)[1] for hosts in _GATEWAYS for host in hosts),
    *(zone for _, zone in _HOSTERS),
)  # fmt: skip
"""Every name below these has an address."""

_SAMPLE_DOMAINS: Final = ("contoso.com", "fabrikam.com", "ornekpartner.com.tr")
"""Domains of Microsoft's samples and of the partner. They have tenants, too."""

_WILDCARD_ENDINGS: Final = tuple(f".{suffix}" for suffix in _WILDCARDS)

_TWO_LEVEL_SUFFIXES: Final = ("com.tr", "org.tr", "gen.tr")


class WorldZone(Zone):
    """The DNS zone of one world. Records added with `add` replace the computed ones of their name."""

    def __init__(self, seed: int, companies: Companies) -> None:
        super().__init__()
        self._seed = seed
        self._companies = companies
        self._setup = lru_cache(maxsize=4096)(self._make_setup)
        self._mailbox = lru_cache(maxsize=4096)(self._draw_mailbox)
        self.add(_SHARED_NAMES)

    def mailbox(self, domain: str) -> Mailbox | None:
        """Return where the mail of a registrable domain is, or None if no company of the world owns the domain."""
        return self._mailbox(domain)

    def tenant_of(self, domain: str) -> str | None:
        """Return the id of the tenant that a domain (or an `.onmicrosoft.com` name) belongs to, or None."""
        domain = domain.lower().rstrip(".")
        if domain.endswith(".onmicrosoft.com"):
            return guid(self._seed, "tenant", domain.split(".")[0])
        return guid(self._seed, "tenant", tenant_name(domain)) if self.mailbox(domain) in WITH_TENANT else None

    def _find(self, name: str) -> Mapping[str, tuple[str, ...]] | None:
        added = super()._find(name)
        return added if added is not None else self._setup(_registrable(name)).get(name) or _provider_records(name)

    def _has_below(self, name: str) -> bool:
        if super()._has_below(name) or name in ("com", "net", "tr", *_TWO_LEVEL_SUFFIXES):
            return True
        return any(known.endswith(f".{name}") for known in self._setup(_registrable(name)))

    def _fault(self, name: str) -> DnsFault | None:
        fault = super()._fault(name)
        domain = _registrable(name)
        if fault is not None or self.mailbox(domain) is not Mailbox.BROKEN:
            return fault
        return Draw(self._seed, "broken", domain).pick((DnsFault.SERVFAIL, DnsFault.SERVFAIL, DnsFault.TIMEOUT))

    def _draw_mailbox(self, domain: str) -> Mailbox | None:
        if domain in _SAMPLE_DOMAINS:
            return Mailbox.M365
        if self._companies.owner(domain) is None:
            return None
        return Draw(self._seed, "mailbox", domain).weighted(_MAILBOX_PERCENTS)

    def _make_setup(self, domain: str) -> dict[str, dict[str, tuple[str, ...]]]:
        mailbox = self.mailbox(domain)
        if mailbox is None or mailbox is Mailbox.NXDOMAIN:
            return {}
        return normalized(_records(domain, mailbox, Draw(self._seed, "mail setup", domain)))


def _registrable(name: str) -> str:
    labels = name.split(".")
    return ".".join(labels[-3:] if ".".join(labels[-2:]) in _TWO_LEVEL_SUFFIXES else labels[-2:])


def _provider_records(name: str) -> dict[str, tuple[str, ...]] | None:
    """Return the records of a name below the mail providers': an MX host, or the DKIM key that a CNAME leads to."""
    if "._domainkey." in name and name.endswith((".onmicrosoft.com", ".dkim.mail.microsoft")):
        return normalized({name: {"TXT": [_KEY]}})[name]
    if name.endswith(_WILDCARD_ENDINGS):
        return {"A": (f"192.0.2.{Draw('host', name).below(250) + 1}",)}
    return None


def _records(domain: str, mailbox: Mailbox, draw: Draw) -> Setup:
    hoster, name_servers = draw.pick(_HOSTERS)
    setup: Setup = {
        domain: {
            "SOA": [(f"ns1.{name_servers}", f"hostmaster.{domain}", 2026010101, 7200, 3600, 1209600, 900)],
            "NS": [f"ns1.{name_servers}", f"ns2.{name_servers}"],
            "A": [f"192.0.2.{draw.below(250) + 1}"],
            "TXT": [],
        },
        f"www.{domain}": {"CNAME": [domain]},
    }
    apex = setup[domain]
    mechanism = _mail_hosts(setup, domain, mailbox, draw, hoster)
    if mailbox in WITH_TENANT:
        _tenant_names(setup, domain, mailbox, draw)
    elif mailbox in _DKIM_SELECTORS and draw.chance(65):
        key = _REVOKED_KEY if draw.chance(8) else _KEY
        setup[f"{_DKIM_SELECTORS[mailbox]}._domainkey.{domain}"] = {"TXT": [key]}
    if mailbox is not Mailbox.M365 and draw.chance(8):
        apex["TXT"].append(f"MS=ms{10_000_000 + draw.below(89_999_999)}")
    if draw.chance(30):
        apex["TXT"].append(f"google-site-verification={guid('verification', domain)}")
    apex["TXT"].extend(_spf(mechanism, draw))
    policy = _dmarc(domain, draw)
    if policy is not None:
        setup[f"_dmarc.{domain}"] = {"TXT": [policy]}
    return setup


def _mail_hosts(setup: Setup, domain: str, mailbox: Mailbox, draw: Draw, hoster: str) -> str:
    """Add the MX and the hosts that it needs. Return the SPF mechanisms that fit it."""
    apex = setup[domain]
    dashes = domain.replace(".", "-")
    outlook = "include:spf.protection.outlook.com"
    match mailbox:
        case Mailbox.M365:
            apex["MX"] = [(0, f"{dashes}.mail.protection.outlook.com")]
            if draw.chance(8):
                apex["MX"].append((20, f"mail.{domain}"))
            return f"{outlook} include:mailgun.org" if draw.chance(10) else outlook
        case Mailbox.M365_NEW:
            apex["MX"] = [(0, f"{dashes}.{draw.pick('abcdefgh')}-v1.mx.microsoft")]
            return outlook
        case Mailbox.M365_GATEWAY | Mailbox.GOOGLE_GATEWAY | Mailbox.GATEWAY:
            apex["MX"] = [(10, host) for host in draw.pick(_GATEWAYS)]
            behind = {
                Mailbox.M365_GATEWAY: f"include:_netblocks.mimecast.com {outlook}",
                Mailbox.GOOGLE_GATEWAY: "include:_netblocks.mimecast.com include:_spf.google.com",
            }
            if mailbox is Mailbox.GOOGLE_GATEWAY:
                setup[f"google._domainkey.{domain}"] = {"TXT": [_KEY]}
            return behind.get(mailbox, "include:_netblocks.mimecast.com")
        case Mailbox.GOOGLE if draw.chance(30):
            apex["MX"] = [(1, "smtp.google.com")]
            return _SPF[mailbox]
        case Mailbox.HOSTING:
            apex["MX"] = [(10, hoster)]
            return f"a mx include:{hoster.split('.', 1)[1]}"
        case Mailbox.LOCAL | Mailbox.LOCAL_M365:
            host = draw.weighted(((70, f"mail.{domain}"), (15, domain), (15, f"mx.{domain}")))
            apex["MX"] = [(10, host)]
            if host != domain:
                leads_to = draw.weighted(((60, "address"), (25, "hoster"), (15, "nothing")))
                if leads_to == "address":
                    setup[host] = {"A": ["192.0.2.25"]}
                elif leads_to == "hoster":
                    setup[host] = {"CNAME": [hoster]}
            return f"mx a:{host} {outlook}" if mailbox is Mailbox.LOCAL_M365 else "mx a"
        case Mailbox.NULL_MX:
            apex["MX"] = [(0, ".")]
            return ""
        case Mailbox.PARKED:
            apex["MX"] = [(0, "localhost")] if draw.chance(50) else [(0, "mail.sedoparking.com")]
            return ""
        case Mailbox.NO_MX | Mailbox.BROKEN:
            if mailbox is Mailbox.NO_MX:
                del apex["A"]  # else the domain itself takes in its mail (RFC 5321, section 5.1)
            return "a"
        case _:
            apex["MX"] = list(_PROVIDERS[mailbox])
            return _SPF[mailbox]


def _tenant_names(setup: Setup, domain: str, mailbox: Mailbox, draw: Draw) -> None:
    tenant, dashes = tenant_name(domain), domain.replace(".", "-")
    new_form = mailbox is Mailbox.M365_NEW or draw.chance(15)
    zone = f"{tenant}.{draw.pick('abcdefgh')}-v1.dkim.mail.microsoft" if new_form else f"{tenant}.onmicrosoft.com"
    if mailbox is not Mailbox.M365 or draw.chance(70):
        for selector in ("selector1", "selector2"):
            target = f"{selector}-{dashes}._domainkey.{zone}"
            setup[f"{selector}._domainkey.{domain}"] = {"CNAME": [target]}
    if draw.chance(85):
        setup[f"autodiscover.{domain}"] = {"CNAME": ["autodiscover.outlook.com"]}
    if draw.chance(35):
        setup[f"enterpriseregistration.{domain}"] = {"CNAME": ["enterpriseregistration.windows.net"]}
    if draw.chance(25):
        setup[f"lyncdiscover.{domain}"] = {"CNAME": ["webdir.online.lync.com"]}
    setup[domain]["TXT"].append(f"MS=ms{10_000_000 + draw.below(89_999_999)}")


def _spf(mechanisms: str, draw: Draw) -> list[str]:
    """Draw the SPF records: mostly one, sometimes none, two, or a broken one."""
    end = draw.weighted(((45, " -all"), (40, " ~all"), (8, " ?all"), (7, "")))
    record = f"v=spf1 {mechanisms}".rstrip() + ("" if "redirect=" in mechanisms else end)
    return draw.weighted(
        (
            (82, [record]),
            (11, []),
            (4, [record, "v=spf1 a mx ~all"]),
            (2, [record.replace("v=spf1", "v=spf2")]),
            (1, ["v=spf1"]),
        )
    )


def _dmarc(domain: str, draw: Draw) -> str | None:
    return draw.weighted(
        (
            (42, None),
            (26, f"v=DMARC1; p=none; rua=mailto:dmarc@{domain}"),
            (12, f"v=DMARC1; p=quarantine; pct=50; rua=mailto:dmarc@{domain}"),
            (12, "v=DMARC1; p=reject; sp=reject; adkim=s"),
            (4, f"v=DMARC1; rua=mailto:dmarc@{domain}; p=quarantine; t=y"),
            (2, "v=DMARC1"),
            (2, "p=reject; v=DMARC1"),
        )
    )
