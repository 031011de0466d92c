"""What DNS said in April 2026 about 1,913 Austrian municipalities, against what another tool made of it.

Source of data/mail_dns_at.jsonl: mxmap (ESORICS 2026 artefact, MIT licence), cut to the fields used here. That tool
matches by substring and has lost the MX preferences. Every disagreement was read:

* microsoft there, Local here (5): the MX is mymailwall.com, which our table does not list as a gateway, and the SPF
  include is the only hint. One hint behind an unknown MX names nobody (mail_signals.md, "Behind a gateway").
* not microsoft there, M365 here (69): a relay of the municipality's data centre in front, and two or three independent
  hints at Microsoft 365 behind it (68); a known gateway with an SPF include behind (1).
"""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from partner_center_pipeline.mail import MailSignals, Provider, scan
from partner_center_pipeline.simulator.dns import DnsServer
from partner_center_pipeline.simulator.zone import Zone

NOW = datetime(2026, 4, 1, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "mail_dns_at.jsonl").read_text(encoding="utf-8").splitlines()
]


def zone() -> Zone:
    records: dict[str, dict[str, list[Any]]] = {"spf.protection.outlook.com": {"TXT": ["v=spf1 -all"]}}
    for row in ROWS:
        own = records.setdefault(row["domain"], {})
        own |= {"MX": [(10, host) for host in row["mx"]]} if row["mx"] else {}
        own |= {"TXT": [row["spf"]]} if row["spf"] else {}
        for selector, target in row["dkim"].items():
            records[f"{selector}._domainkey.{row['domain']}"] = {"CNAME": [target]}
        if row["autodiscover"]:
            records[f"autodiscover.{row['domain']}"] = {"CNAME": [row["autodiscover"]]}
    return Zone.from_records(records)


@pytest.fixture(scope="module")
def signals() -> Iterator[dict[str, MailSignals]]:
    with DnsServer(zone()) as server:
        found = scan(
            [row["domain"] for row in ROWS],
            resolvers=[server.address],
            selectors=("selector1", "selector2"),
            clock=lambda: NOW,
        )
        yield {each.domain: each for each in found}


@pytest.mark.slow
def test_the_verdicts_agree_but_for_the_disagreements_that_were_read(signals: dict[str, MailSignals]) -> None:
    found = [(row, signals[row["domain"]]) for row in ROWS]
    assert not [each.domain for _, each in found if each.missed]
    verdicts = Counter(
        (row["peer"] == "microsoft", each.provider is Provider.M365, each.gateway is not None) for row, each in found
    )
    assert verdicts == {
        (True, True, False): 805,
        (True, True, True): 578,
        (True, False, False): 5,
        (False, True, False): 68,
        (False, True, True): 1,
        (False, False, False): 424,
        (False, False, True): 32,
    }


@pytest.mark.slow
def test_what_is_microsoft_only_there_has_one_hint_and_what_is_only_here_has_two(
    signals: dict[str, MailSignals],
) -> None:
    for row in ROWS:
        each = signals[row["domain"]]
        hints = {evidence.kind for evidence in each.evidence if evidence.points_to == "M365"}
        if row["peer"] == "microsoft" and each.provider is not Provider.M365:
            assert (hints, each.notes, row["mx"]) == ({"spf"}, ("mailbox_hint",), ["mx.mymailwall.com"])
        if row["peer"] != "microsoft" and each.provider is Provider.M365 and each.gateway is None:
            assert len(hints) >= 2
