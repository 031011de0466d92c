"""What DNS said in April 2026 about 1,913 Austrian municipalities, against what another tool made of it.

Source of data/mail_dns_at.jsonl: mxmap (ESORICS 2026 artefact, MIT licence), cut to the fields used here. That tool
matches by substring and has lost the MX preferences. Its verdicts are taken here as if it were sure of every one.
Every disagreement was read:

* Not microsoft there, M365 here (68): a relay of the municipality's data centre stands in front, which that tool takes
  for the mailbox, and two or three independent hints show Microsoft 365 behind it (67); eXpurgate, a gateway that the
  tool does not know, with three hints behind (weiz.at).
* Microsoft there, Unknown here (20): a known gateway and nothing but an SPF include at Microsoft. The tool is never
  sure of these (at most 76 percent). The public tenant look-up confirms all but one, inzersdorf-getzersdorf.gv.at,
  which has no tenant.
"""

import json
from collections import Counter
from pathlib import Path

import pytest

from partner_center_pipeline.vocabulary import Provider
from partner_center_pipeline_tests.benchmarks.providers import Comparison, Row, compare

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("Austria")]  # one scan of 1,913 domains

FILE = Path(__file__).parent / "data" / "mail_dns_at.jsonl"


def _row(line: str) -> Row:
    fields = json.loads(line)
    return Row(
        domain=fields["domain"],
        mx=fields["mx"],
        spf=fields["spf"],
        dkim_cname=fields["dkim"],
        autodiscover_cname=fields["autodiscover"],
        peer_provider=fields["peer"],
        peer_confidence=100,
    )


@pytest.fixture(scope="module")
def austria() -> Comparison:
    """Both verdicts on every line of the file."""
    return compare([_row(line) for line in FILE.read_text(encoding="utf-8").splitlines()])


def test_a_microsoft_customer_is_left_open_only_behind_a_gateway_with_an_spf_include_alone(austria: Comparison) -> None:
    assert [each.row.domain for each in austria.unbacked] == []
    assert len(austria.missed) == 20
    for each in austria.missed:
        hints = {evidence.kind for evidence in each.ours.evidence if evidence.points_to == Provider.M365.value}
        assert (each.ours.provider, hints, each.ours.notes) == (Provider.UNKNOWN, {"spf"}, ("mailbox_hint",))
        assert each.ours.gateway is not None


def test_the_verdicts_agree_but_for_the_disagreements_that_were_read(austria: Comparison) -> None:
    verdicts = Counter(
        (each.theirs == "microsoft", each.ours.provider is Provider.M365, each.ours.gateway is not None)
        for each in austria.verdicts
    )
    assert verdicts == {
        (True, True, False): 801,
        (True, True, True): 567,
        (True, False, True): 20,
        (False, True, False): 67,
        (False, True, True): 1,
        (False, False, False): 410,
        (False, False, True): 47,
    }


def test_what_is_microsoft_only_here_has_two_hints(austria: Comparison) -> None:
    for each in austria.verdicts:
        hints = {evidence.kind for evidence in each.ours.evidence if evidence.points_to == Provider.M365.value}
        if each.theirs != "microsoft" and each.ours.provider is Provider.M365:
            assert len(hints) >= 2, each.row.domain
