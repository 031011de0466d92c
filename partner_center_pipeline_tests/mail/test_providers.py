"""The provider table: every suffix of mail_signals.md, whole labels only, and a table that contradicts itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_center_pipeline.mail.providers import Kind, Place, ProviderTable, ProviderTableError, owner_of
from partner_center_pipeline.vocabulary import Provider

# mail_signals.md, "Provider table", written out once more so that a lost line of the data file is noticed.
MAILBOXES = {
    Provider.M365: (
        "contoso-com.mail.protection.outlook.com",
        "contoso-com.x-v1.mx.microsoft",
        "contoso.mail.protection.office365.us",
        "contoso.mail.protection.outlook.de",
        "contoso.mail.protection.partner.outlook.cn",
        "contoso.mail.eo.outlook.com",
        "contoso.mail.messaging.microsoft.com",
    ),
    Provider.GOOGLE: ("smtp.google.com", "aspmx.l.google.com", "aspmx2.googlemail.com"),
    Provider.YANDEX: ("mx.yandex.net", "mx.yandex.ru", "mx.yandex.com.tr"),
    Provider.ZOHO: ("mx.zoho.com", "mx.zoho.eu", "mx2.zoho.in", "mx.zohomail.com", "mx.zohomail.com.au"),
    Provider.AMAZON: ("mx.amazonses.com", "inbound-smtp.eu-west-1.amazonaws.com", "firma.awsapps.com"),
    Provider.SENDGRID: ("mx.sendgrid.net",),
    Provider.MAILGUN: ("mxa.mailgun.org", "mxa.mailgun.com"),
    Provider.HOSTING: (
        "smtp.secureserver.net",
        "mx00.ionos.de",
        "mx01.ionos.co.uk",
        "mx00.kundenserver.de",
        "mx00.1and1.com",
        "mx1.hostinger.com",
        "mx1.titan.email",
        "mx1.mail.ovh.net",
        "www1.your-server.de",
        "mx1.emailsrvr.com",
        "gator.hostgator.com",
        "box.bluehost.com",
        "mail.cpanel.net",
        "mail.plesk.com",
        "mx1.registrar-servers.com",
        "mx01.natrohost.com",
        "mail.kurumsaleposta.com",
        "mx1.turhost.com",
        "mx.isimtescil.net",
        "mx.veridyen.com",
        "mail.turkticaret.net",
        "mail.guzelhosting.com",
        "mx.uzmanposta.com",
        "mx.yaanimail.com",
        "mx.pendns.net",
        "mx.kriweb.com",
        "mx.bulutino.com",
    ),
}
NAMED_UNKNOWN = {
    "hotmail-com.olc.protection.outlook.com": "consumer Outlook",
    "in1-smtp.messagingengine.com": "Fastmail",
    "mail.protonmail.ch": "Proton Mail",
    "mx01.mail.icloud.com": "iCloud Mail",
    "route1.mx.cloudflare.net": "Cloudflare Email Routing",
    "mx1.improvmx.com": "ImprovMX",
}
# The gateways of mail_signals.md and others that filter for mailboxes elsewhere: one host of every suffix.
GATEWAYS = {
    "mxa-0001.gslb.pphosted.com": "Proofpoint",
    "mxa-0001.gslb.gpphosted.com": "Proofpoint",
    "mx1-eu1.ppe-hosted.com": "Proofpoint Essentials",
    "eu-smtp-inbound-1.mimecast.com": "Mimecast",
    "za-smtp-inbound-1.mimecast.co.za": "Mimecast",
    "je-smtp-inbound-1.mimecast-offshore.com": "Mimecast",
    "d1.ess.barracudanetworks.com": "Barracuda",
    "d1.a.ess.de.barracudanetworks.com": "Barracuda",
    "mx1.hc1.eu.iphmx.com": "Cisco Secure Email",
    "mailstream-east.mxrecord.io": "Cloudflare Email Security",
    "mailstream-central.mxrecord.mx": "Cloudflare Email Security",
    "cluster1.eu.messagelabs.com": "Symantec Email Security.cloud",
    "firma.in.tmes.trendmicro.com": "Trend Micro Email Security",
    "firma.in.tmes.trendmicro.eu": "Trend Micro Email Security",
    "in.hes.trendmicro.com": "Trend Micro Email Security",
    "in.hes.trendmicro.eu": "Trend Micro Email Security",
    "mx-01-eu.prod.hydra.sophos.com": "Sophos Email",
    "mx1.reflexion.net": "Sophos Reflexion",
    "mx01.hornetsecurity.com": "Hornetsecurity",
    "mx01.hornetsecurity.ch": "Hornetsecurity",
    "mx01.hornetsecurity.de": "Hornetsecurity",
    "mx1.antispameurope.com": "Hornetsecurity",
    "mx.zerospam.ca": "Hornetsecurity",
    "mx1.vadesecure.com": "Vade",
    "mx1.vade-retro.com": "Vade",
    "mx1.altospam.com": "Altospam",
    "mx1.mailinblack.com": "Mailinblack",
    "cust1.in.mailcontrol.com": "Forcepoint",
    "gw.fortimailcloud.com": "FortiMail Cloud",
    "mx.fireeyecloud.com": "Trellix Email Security",
    "mx1.mailanyone.net": "VIPRE Email Security",
    "mx1.electric.net": "VIPRE Email Security",
    "mx1.comendosystems.com": "VIPRE Email Security",
    "mx1.staysecuregroup.com": "VIPRE Email Security",
    "mx1.d-fence.eu": "D-Fence",
    "mx1.heimdalsecurity.com": "Heimdal Email Security",
    "firma.ce.arsmtp.com": "Zix",
    "mx1.securence.com": "Securence",
    "mx1.spamtitan.com": "SpamTitan",
    "mx1.spamhero.com": "SpamHero",
    "mail.mailroute.net": "MailRoute",
    "firma-com.inbound.emailservice.io": "Mailprotector",
    "firma-com.inbound.emailservice.co": "Mailprotector",
    "firma-com.inbound.emailservice.cc": "Mailprotector",
    "filter.mailguard.com.au": "MailGuard",
    "mx1.smxemail.com": "SMX",
    "firma.esvacloud.com": "Libraesva",
    "mx1.libraesva.com": "Libraesva",
    "mx1.spamexperts.eu": "SpamExperts",
    "mx1.antispamcloud.com": "SpamExperts",
    "mx.mtaroutes.com": "N-able Mail Assure",
    "mx10.mailspamprotection.com": "SiteGround Spam Protection",
    "mx1.retarus.com": "Retarus",
    "mx1.retarus.de": "Retarus",
    "mx1.expurgate.de": "eXpurgate",
    "mxtls.expurgate.net": "eXpurgate",
    "mx1.eu.ctmail.com": "Cyren",
    "firma.cloud.nospamproxy.com": "NoSpamProxy",
    "mx.nospamproxy.de": "NoSpamProxy",
    "mx1.secumail.de": "SecuMail",
    "a1722.mx.srv.dfn.de": "DFN-MailSupport",
    "mx.seppmail.cloud": "SEPPmail.cloud",
    "mx.seppmail.com": "SEPPmail.cloud",
    "mx.cleanmail.ch": "Cleanmail",
    "mx.cleanmail.safecenter.ch": "Cleanmail",
    "mta1.abxsec.com": "Abxsec",
    "relay.spamvor.com": "Spamvor",
    "mx.mymailwall.com": "MyMailWall",
    "scanlab01.mymailwall.at": "MyMailWall",
}

# What Microsoft has customers write besides the MX.
M365_HINTS = (
    (Place.SPF, "spf.protection.outlook.com"),
    (Place.SPF, "spf.messaging.microsoft.com"),
    (Place.SPF, "spf.protection.office365.us"),
    (Place.SPF, "spf.protection.outlook.de"),
    (Place.SPF, "spf.protection.partner.outlook.cn"),
    (Place.DKIM, "selector1-firma-com._domainkey.firma.onmicrosoft.com"),
    (Place.DKIM, "selector1-firma-com._domainkey.firma.n-v1.dkim.mail.microsoft"),
    (Place.DKIM, "selector1-firma-com._domainkey.firma.onmicrosoft.us"),
    (Place.DKIM, "selector1-firma-com._domainkey.firma.partner.onmschina.cn"),
    (Place.AUTODISCOVER, "autodiscover.outlook.com"),
    (Place.AUTODISCOVER, "autodiscover-s.outlook.com"),
    (Place.AUTODISCOVER, "outlook.office365.com"),
    (Place.AUTODISCOVER, "autodiscover.office365.us"),
    (Place.AUTODISCOVER, "autodiscover-outlook.office.de"),
    (Place.AUTODISCOVER, "autodiscover.partner.outlook.cn"),
)


@pytest.mark.parametrize(("provider", "host"), [(p, host) for p, hosts in MAILBOXES.items() for host in hosts])
def test_every_suffix_of_the_table_names_its_provider(provider: Provider, host: str) -> None:
    owner = owner_of(host)
    assert owner is not None
    assert owner.provider is provider


@pytest.mark.parametrize(("host", "name"), NAMED_UNKNOWN.items())
def test_other_mailbox_providers_are_named_and_are_unknown(host: str, name: str) -> None:
    owner = owner_of(host)
    assert owner is not None
    assert (owner.name, owner.kind, owner.provider) == (name, Kind.MAILBOX, Provider.UNKNOWN)


@pytest.mark.parametrize(("host", "name"), GATEWAYS.items())
def test_a_gateway_is_named_and_is_never_a_mailbox(host: str, name: str) -> None:
    owner = owner_of(host)
    assert owner is not None
    assert (owner.name, owner.kind, owner.provider) == (name, Kind.GATEWAY, Provider.UNKNOWN)


@pytest.mark.parametrize("host", ["mx.sedoparking.com", "mx.parkmail.com", "mail.bodis.com"])
def test_parking_hosts_are_known(host: str) -> None:
    owner = owner_of(host)
    assert owner is not None
    assert owner.kind is Kind.PARKING


@pytest.mark.parametrize(
    "host",
    [
        "outlook.com.evil.example",
        "mail.protection.outlook.com.evil.example",
        "xmail.protection.outlook.com",
        "notgoogle.com",
        "smtp.google.com.evil.example",
        "mx.ionos.evil.example",
        "ionos.evil.com",
        "mximecast.com",
        "mx.mimecast.evil.com",
        "smtp.eu-west-1.amazonaws.com",
        "inbound-smtp.amazonaws.com",
        "inbound-smtp.a.b.amazonaws.com",
        "evil-inbound-smtp.eu-west-1.amazonaws.com.example",
        "in.trendmicro.com",
        "sophos.com",
        "xbarracudanetworks.com",
        "mx.ess.de.barracudanetworks.com.evil.example",
        "mymailwall.com.evil.example",
        "mx.mymailwall.evil.com",
        "srv.dfn.de",
        "com",
        "",
    ],
)
def test_only_whole_labels_at_the_end_match(host: str) -> None:
    assert owner_of(host) is None


@pytest.mark.parametrize("host", ["ASPMX.L.Google.COM", "aspmx.l.google.com."])
def test_case_and_final_dot_do_not_matter(host: str) -> None:
    owner = owner_of(host)
    assert owner is not None
    assert owner.provider is Provider.GOOGLE


def test_an_spf_include_and_a_dkim_target_have_suffixes_of_their_own() -> None:
    assert owner_of("spf.protection.outlook.com", Place.SPF) is not None
    assert owner_of("spf.protection.outlook.com", Place.MX) is None
    assert owner_of("selector1-a-com._domainkey.a.onmicrosoft.com", Place.DKIM) is not None
    assert owner_of("a.onmicrosoft.com", Place.MX) is None


@pytest.mark.parametrize(("place", "host"), M365_HINTS)
def test_every_form_of_a_hint_at_microsoft_365_is_known_in_its_place_only(place: Place, host: str) -> None:
    owner = owner_of(host, place)
    assert owner is not None
    assert owner.provider is Provider.M365
    assert owner_of(host) is None
    assert owner_of(f"{host}.firma.at", place) is None


@given(st.text())
def test_no_text_makes_the_table_raise(host: str) -> None:
    owner_of(host)


@given(
    st.sampled_from([host for hosts in MAILBOXES.values() for host in hosts]),
    st.from_regex(r"[a-z]{1,9}", fullmatch=True),
)
def test_a_known_suffix_in_the_middle_of_a_name_means_nothing(host: str, label: str) -> None:
    assert owner_of(f"{host}.{label}.example") is None


OWNER = '[[owner]]\nname = "{name}"\nkind = "{kind}"\nprovider = "{provider}"\nmx = {mx}\n'


def _table(*owners: str) -> str:
    return 'version = "1"\n' + "".join(owners)


def test_a_suffix_that_two_owners_claim_is_refused_with_both_named() -> None:
    first = OWNER.format(name="First", kind="mailbox", provider="Zoho", mx='["a.example"]')
    second = OWNER.format(name="Second", kind="mailbox", provider="Google", mx='["a.example"]')
    with pytest.raises(ProviderTableError, match=r"'Second'.*'a\.example'.*'First'"):
        ProviderTable(_table(first, second))


def test_a_suffix_listed_twice_under_one_owner_in_two_places_is_refused() -> None:
    owner = OWNER.format(name="Twice", kind="mailbox", provider="Zoho", mx='["a.example"]') + 'spf = ["a.example"]\n'
    with pytest.raises(ProviderTableError, match=r"'Twice'.*'a\.example'"):
        ProviderTable(_table(owner))


@pytest.mark.parametrize(
    ("kind", "provider"), [("mailbox", "Hotmail"), ("mailbox", "Local"), ("gateway", "M365"), ("spaceship", "M365")]
)
def test_an_unknown_provider_or_kind_is_refused_with_the_entry_named(kind: str, provider: str) -> None:
    with pytest.raises(ProviderTableError, match="'Wrong'"):
        ProviderTable(_table(OWNER.format(name="Wrong", kind=kind, provider=provider, mx='["a.example"]')))


@pytest.mark.parametrize("suffix", ["A.example", ".a.example", "a..example", "a.example.", "*", "*.example", "a.*.*"])
def test_a_suffix_that_is_no_lower_case_host_is_refused(suffix: str) -> None:
    with pytest.raises(ProviderTableError, match="'Wrong'"):
        ProviderTable(_table(OWNER.format(name="Wrong", kind="mailbox", provider="Zoho", mx=f'["{suffix}"]')))


@pytest.mark.parametrize("text", ["", "version = ", 'version = "1"\nowner = 3', 'version = "1"\nextra = 1\n'])
def test_what_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(ProviderTableError):
        ProviderTable(text)
