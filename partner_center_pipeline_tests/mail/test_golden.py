"""Whole mail set-ups over real DNS, each against what is written down for it (`golden`)."""

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline_tests.mail.golden import GoldenZone, Verdict, golden_zones, scanned, verdict

pytestmark = pytest.mark.xdist_group("golden zones")  # one scan of all of them

ZONES = golden_zones()
OWNERS: list[dict[str, Any]] = tomllib.loads(
    files("partner_center_pipeline.mail").joinpath("providers.toml").read_text(encoding="utf-8")
)["owner"]


@pytest.fixture(scope="module")
def signals() -> dict[str, MailSignals]:
    """The signals of all golden domains, from one scan of one server."""
    return scanned(ZONES)


@pytest.mark.parametrize("golden", ZONES, ids=lambda golden: golden.name)
def test_the_verdict_on_a_mail_set_up_is_the_one_written_down(
    golden: GoldenZone, signals: dict[str, MailSignals]
) -> None:
    said: Verdict = verdict(signals[golden.domain])
    assert said == golden.expected


def _covers(suffix: str, host: str) -> bool:
    return re.search(rf"(?:^|\.){re.escape(suffix).replace(re.escape('*'), '[a-z0-9.-]+')}$", host) is not None


def _suffixes() -> Iterator[tuple[str, str, str]]:
    for owner in OWNERS:
        for suffix in owner.get("mx", ()):
            yield owner["name"], owner["kind"], suffix


@pytest.mark.parametrize(("owner", "kind", "suffix"), list(_suffixes()))
def test_every_mail_host_of_the_provider_table_has_a_golden_zone(owner: str, kind: str, suffix: str) -> None:
    what = {"gateway": ("gateway", owner), "parking": ("no_mail", "parking")}
    key, value = what.get(kind, ("provider_name", owner))
    shown = [each for each in ZONES if any(_covers(suffix, host) for host in each.mail_hosts)]
    assert [each.name for each in shown if each.expected.get(key) == value], f"no golden zone shows {owner} by {suffix}"


@pytest.mark.parametrize("owner", [owner for owner in OWNERS if not owner.get("mx")], ids=lambda owner: owner["name"])
def test_every_owner_without_mail_hosts_stands_in_the_evidence_of_a_golden_zone(owner: dict[str, Any]) -> None:
    suffixes = [suffix for place in ("spf", "dkim", "autodiscover", "ns") for suffix in owner.get(place, ())]
    evidence = [line.split(" ")[-2].rstrip(":") for each in ZONES for line in each.expected.get("evidence", ())]
    assert any(_covers(suffix, host) for suffix in suffixes for host in evidence)


def test_the_golden_zones_show_every_provider_and_every_segment() -> None:
    for key, values in {
        "provider": "M365 Google Yandex Zoho Amazon SendGrid Mailgun Hosting Local Unknown",
        "segment": "Existing Migration Cold Skip Pending",
    }.items():
        assert {each.expected[key] for each in ZONES} == set(values.split())


BEFORE_SOURCES: frozenset[str] = frozenset(
    """amazon ses or workmail, abxsec, altospam, barracuda, bluehost, bodis parking, bulutino, cisco secure email,
    cleanmail, cloudflare email routing, cloudflare email security, cpanel, cyren, d-fence, dfn-mailsupport, dnsenable,
    expurgate, fastmail, forcepoint, fortimail cloud, godaddy, google workspace, heimdal email security, hetzner,
    hornetsecurity, hostgator, hostinger, icloud mail, improvmx, ionos, kriweb, kurumsal e-posta, libraesva, mailguard,
    mailgun, mailinblack, mailprotector, mailroute, microsoft 365, mimecast, mymailwall, n-able mail assure, natro,
    nospamproxy, ovhcloud, parkmail parking, pendns, plesk, proofpoint, proofpoint essentials, proton mail,
    rackspace email, retarus, secumail, securence, sedo parking, sendgrid, seppmail.cloud,
    siteground spam protection, smx, sophos email, sophos reflexion, spamexperts, spamhero, spamtitan, spamvor,
    symantec email security.cloud, titan, trellix email security, trend micro email security, türkticaret.net,
    uzman posta, vade, veridyen, vipre email security, yaani mail, yandex 360, zix, i̇simtescil, consumer outlook
    """.replace("\n   ", "")
    .strip()
    .split(", ")
)
"""Owners of the table from before an entry had to say where it can be checked. None is added here."""


def test_every_new_entry_of_the_provider_table_says_where_it_can_be_checked() -> None:
    without = {owner["name"].lower() for owner in OWNERS if not owner.get("source")}
    assert without <= BEFORE_SOURCES
