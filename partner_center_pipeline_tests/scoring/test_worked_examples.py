"""scoring.md, section 7: every worked example comes out as the page says."""

from typing import Any

import pytest

from partner_center_pipeline.scoring import ScoreInput, Segment, determine_segment, score_domain
from partner_center_pipeline.settings import PROJECT_ROOT
from partner_center_pipeline.vocabulary import DmarcPolicy, Provider

from .cases import company

SPF: dict[str, Any] = {"spf_present": True}
SPF_DKIM: dict[str, Any] = {"spf_present": True, "dkim_present": True}
ALL: dict[str, Any] = {**SPF_DKIM, "dmarc_policy": "reject"}
PAYLOAD: dict[str, Any] = {"tenant": "72f988bf-86f1-41af-91ab-2d7cd011db47", "tenant_source": "payload"}

# input, the points that signals gave, score, readiness, segment, commercial segment, commercial heat, category
EXAMPLES: list[tuple[ScoreInput, list[int], int | None, int | None, str, str | None, str | None, str | None]] = [
    (company("M365", **ALL), [50, 10, 10, 20], 90, 90, "Existing", "RENEWAL", "medium", "P4"),
    (company("M365", **SPF_DKIM), [50, 10, 10, 0], 70, 70, "Existing", "RENEWAL", "medium", "P4"),
    (company("M365", **SPF_DKIM, dmarc_policy="none"),
     [50, 10, 10, -10], 60, 60, "Existing", "WEAK_PARTNER", "high", "P3"),
    (company("M365", **SPF), [50, 10, -10, -5, 0], 45, 45, "Existing", "WEAK_PARTNER", "medium", "P3"),
    (company("Google", **ALL), [50, 10, 10, 20], 90, 90, "Migration", "COMPETITIVE", "high", "P2"),
    (company("Google", **SPF, dmarc_policy="quarantine"),
     [50, 10, -10, -5, 15], 60, 60, "Migration", "COMPETITIVE", "high", "P2"),
    (company("Google", **SPF), [50, 10, -10, -5, 0], 45, 45, "Cold", "LOW_INTENT", "low", "P5"),
    (company("Google"), [50, -10, -10, -5, 0], 25, 25, "Skip", "NO_GO", "low", "P6"),
    (company("Yandex", **ALL), [30, 10, 10, 20], 70, 70, "Migration", "COMPETITIVE", "high", "P2"),
    (company("Zoho", **SPF_DKIM, dmarc_policy="none"), [30, 10, 10, -10], 40, 40, "Cold", "LOW_INTENT", "low", "P5"),
    (company("Hosting", **ALL), [20, 10, 10, 20], 60, 60, "Migration", "GREENFIELD", "high", "P1"),
    (company("Hosting"), [20, -10, -10, -5, 0, -10, 15], 0, 0, "Skip", "NO_GO", "low", "P6"),
    (company("Local", **ALL), [10, 10, 10, 20], 50, 50, "Cold", "GREENFIELD", "high", "P1"),
    (company("Local", **SPF), [10, 10, -10, -5, 0], 5, 5, "Cold", "GREENFIELD", "high", "P1"),
    (company("Local"), [10, -10, -10, -5, 0, 15], 0, 0, "Skip", "NO_GO", "low", "P6"),
    (company("Amazon", **ALL), [20, 10, 10, 20], 60, 60, "Cold", "LOW_INTENT", "low", "P5"),
    (company("Google", **SPF, open_cosell=True), [50, 10, -10, -5, 0, 15], 60, 45, "Cold", "LOW_INTENT", "low", "P5"),
    (company("Local", **PAYLOAD), [10, -10, -10, -5, 0, 15, 55], 55, 55, "Existing", "WEAK_PARTNER", "high", "P3"),
    (company("Google", **ALL, **PAYLOAD), [50, 10, 10, 20, 0], 90, 90, "Existing", "RENEWAL", "medium", "P4"),
    (company(no_mx=True, **PAYLOAD, open_cosell=True), [0, 55, 15], 70, 55, "Existing", "WEAK_PARTNER", "high", "P3"),
    (company(no_mx=True), [0], 0, 0, "Skip", "NO_GO", "low", "P6"),
    (company(signals_complete=False), [0], None, None, "Pending", None, None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "points", "score", "readiness", "segment", "commercial", "heat", "category"), EXAMPLES
)
def test_a_worked_example_comes_out_as_written(
    inputs: ScoreInput,
    points: list[int],
    score: int | None,
    readiness: int | None,
    segment: str,
    commercial: str | None,
    heat: str | None,
    category: str | None,
) -> None:
    scored = score_domain(inputs)
    assert [reason.points for reason in scored.reasons] == points
    assert (scored.score, scored.readiness, scored.segment) == (score, readiness, segment)
    assert (scored.commercial_segment, scored.commercial_heat, scored.category) == (commercial, heat, category)


PAGE = (PROJECT_ROOT / "docs/scoring.md").read_text(encoding="utf-8")
FACTS: dict[str, dict[str, Any]] = {
    "SPF": SPF,
    "DKIM": {"dkim_present": True},
    **{policy.value: {"dmarc_policy": policy.value} for policy in DmarcPolicy},
    "nothing": {},
    "tenant in the payload": PAYLOAD,
    "open co-sell": {"open_cosell": True},
    "no mail host": {"no_mx": True},
    "the MX look-up timed out": {"signals_complete": False},
    **{provider.value: {"provider": provider.value} for provider in Provider},
}
"""What each word of the page's first column says about a company."""


def lines_of_the_page() -> list[list[str]]:
    section = PAGE[PAGE.index("## 7. ") : PAGE.index("## 8. ")]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_the_page_has_every_example() -> None:
    assert len(lines_of_the_page()) == len(EXAMPLES)


@pytest.mark.parametrize("line", lines_of_the_page(), ids=lambda line: line[0])
def test_a_line_of_the_page_comes_out_as_written(line: list[str]) -> None:
    facts, _points, *outcome = line
    known: dict[str, Any] = {}
    for word in facts.split(", "):
        known |= FACTS[word]
    scored = score_domain(company(**known))
    numbers = (scored.readiness, scored.score)
    view = (scored.segment, scored.commercial_segment, scored.commercial_heat, scored.category)
    assert ["none" if value is None else str(value) for value in (*numbers, *view)] == outcome


@pytest.mark.parametrize(
    ("readiness", "provider", "tenant", "expected"),
    [
        (90, "M365", None, "Existing"),
        (0, "M365", None, "Existing"),
        (90, "Google", None, "Migration"),
        (60, "Hosting", None, "Migration"),
        (59, "Google", None, "Cold"),
        (59, "Local", None, "Cold"),
        (5, "Local", None, "Cold"),
        (4, "Local", None, "Skip"),
        (40, "Unknown", None, "Cold"),
        (39, "Unknown", None, "Skip"),
        (60, "Amazon", None, "Cold"),
        (100, "SendGrid", None, "Cold"),
        (0, "Local", "72f988bf-86f1-41af-91ab-2d7cd011db47", "Existing"),
        (90, "Google", "72f988bf-86f1-41af-91ab-2d7cd011db47", "Existing"),
    ],
)
def test_the_segment_of_a_readiness_is_that_of_the_table_and_a_tenant_is_existing(
    readiness: int, provider: str, tenant: str | None, expected: str
) -> None:
    segment, reason = determine_segment(readiness, provider, tenant)
    assert isinstance(segment, Segment)
    assert segment == expected
    assert (reason == "microsoft_tenant") is (tenant is not None)
