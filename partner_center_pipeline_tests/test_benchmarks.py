"""The benchmarks as a person runs them, on small inputs."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from partner_center_pipeline.mail import MailSignals
from partner_center_pipeline.vocabulary import Provider
from partner_center_pipeline_tests.benchmarks import stability
from partner_center_pipeline_tests.benchmarks.__main__ import main
from partner_center_pipeline_tests.benchmarks.providers import Row, ZoneFileError, compare, read_rows

SPF_M365 = "v=spf1 mx include:spf.protection.outlook.com -all"
DKIM_M365 = {"selector1": "selector1-a-at._domainkey.a.onmicrosoft.com"}
AUTODISCOVER_M365 = "autodiscover.outlook.com"
GATEWAY = ["mx1-eu1.ppe-hosted.com"]


def row(domain: str, peer: str, confidence: float = 90, **fields: Any) -> dict[str, Any]:
    return {"domain": domain, "peer_provider": peer, "peer_confidence": confidence, **fields}


def run(tmp_path: Path, *lines: dict[str, Any] | str) -> Result:
    path = tmp_path / "zone.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return CliRunner().invoke(main, ["providers", "--zone", str(path)])


def test_verdicts_that_count_against_us_are_listed_with_evidence_and_exit_code_1(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        row("agreed.at", "microsoft", mx=["agreed-at.mail.protection.outlook.com"]),
        row("missed.at", "microsoft", mx=["mail.missed.at"], spf=SPF_M365, smtp=["SMTP banner matches ms365"]),
        row("unbacked.at", "domestic", mx=GATEWAY, autodiscover_cname=AUTODISCOVER_M365),
        row("backed.at", "domestic", mx=["relay.example.at"], dkim_cname=DKIM_M365, spf=SPF_M365),
        row("hidden.at", "domestic", mx=GATEWAY),
        row("missed.at", "domestic", mx=["mail.missed.at"]),
    )
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "missed: 1, unbacked: 1, hidden: 0.200, n: 5"
    assert "3 disagreements" in result.stdout
    for name in ("agreed.at", "hidden.at"):
        assert name not in result.stdout
    cells = [cell.strip() for line in result.stdout.splitlines() for cell in line.split("│")]
    listed = [
        cell for cell in cells if cell in ("missed.at", "unbacked.at", "backed.at", "missed", "unbacked", "differs")
    ]
    assert listed == ["missed.at", "missed", "unbacked.at", "unbacked", "backed.at", "differs"]
    for evidence in (
        "provider Local (no name)",
        "spf spf.protection.outlook.com -> M365",
        "note mailbox_hint",
        "provider microsoft",
        f"spf {SPF_M365}",
        "smtp SMTP banner matches ms365",
        "gateway Proofpoint Essentials",
        "confidence 50",
    ):
        assert evidence in cells


def test_where_nothing_counts_against_us_the_exit_code_is_0(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        row("a.at", "microsoft", mx=["relay.example.at"], spf=SPF_M365, autodiscover_cname=AUTODISCOVER_M365),
        row("b.at", "domestic", mx=["relay.example.at"], spf=SPF_M365, autodiscover_cname=AUTODISCOVER_M365),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "missed: 0, unbacked: 0, hidden: 0.000, n: 2"


def test_a_peer_that_is_not_sure_or_did_not_conclude_counts_for_nothing(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        row("a.at", "microsoft", 79.9, mx=["mail.a.at"]),
        row("b.at", "domestic", 79.9, mx=GATEWAY, spf=SPF_M365),
        row("c.at", "unknown", 100, mx=GATEWAY, spf=SPF_M365),
    )
    assert result.exit_code == 0, result.output
    assert "0 disagreements" in result.stdout


def test_any_field_may_be_null_or_absent(tmp_path: Path) -> None:
    nothing = dict.fromkeys(Row.model_fields)
    result = run(
        tmp_path,
        nothing,
        {},
        "",
        {"domain": "absent.at"},
        {**nothing, "domain": "null.at"},
        {**nothing, "domain": "target.at", "dkim_cname": {"selector1": None}, "mx": []},
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "missed: 0, unbacked: 0, hidden: 0.000, n: 3"


def test_a_file_of_no_domains_is_no_disagreement(tmp_path: Path) -> None:
    assert run(tmp_path).stdout.splitlines()[-1] == "missed: 0, unbacked: 0, hidden: 0.000, n: 0"


@pytest.mark.parametrize(
    "line",
    [
        "{domain: a.at}",
        "[]",
        '{"domain": "a.at", "mx": "mail.a.at"}',
        '{"domain": "a b.at"}',
        f'{{"domain": "{"a" * 64}.at"}}',
        '{"domain": "a.at", "mx": ["mail;a.at"]}',
        '{"domain": "a.at", "peer_confidence": "high"}',
    ],
    ids=["no JSON", "no object", "no list", "blank", "long label", "semicolon", "no number"],
)
def test_a_line_that_cannot_be_used_is_an_error_with_its_number(tmp_path: Path, line: str) -> None:
    result = run(tmp_path, row("good.at", "domestic"), line)
    assert result.exit_code == 1
    assert "line 2: " in result.stderr
    assert result.stdout == ""


def test_bytes_that_are_no_text_are_an_error_with_the_line_number() -> None:
    with pytest.raises(ZoneFileError, match="line 1"):
        read_rows([b'{"domain": "\xff"}'])


def test_names_are_read_as_dns_holds_them() -> None:
    rows = read_rows(['\ufeff{"domain": "Zürich.CH.", "mx": ["."]}'.encode()])
    assert [(each.domain, each.mx) for each in rows] == [("xn--zrich-kva.ch", ("",))]


def test_every_form_of_a_strong_hint_at_microsoft_365_names_it_behind_a_gateway() -> None:
    hints: tuple[dict[str, Any], ...] = (
        {"dkim_cname": {"selector2": "selector2-a-at._domainkey.a.onmicrosoft.com"}},
        {"dkim_cname": {"selector1": "selector1-a-at._domainkey.a.n-v1.dkim.mail.microsoft"}},
        {"autodiscover_cname": "autodiscover.outlook.com"},
        {"autodiscover_cname": "autodiscover-s.outlook.com"},
    )
    rows = [Row(domain=f"h{number}.at", mx=tuple(GATEWAY), **hint) for number, hint in enumerate(hints)]
    assert [each.ours.provider for each in compare(rows).verdicts] == [Provider.M365] * len(hints)


def test_every_form_of_an_spf_include_counts_where_the_tenant_look_up_confirms_it_and_only_there() -> None:
    records = (
        SPF_M365,
        "v=spf1 +INCLUDE:spf.protection.outlook.com. ~all",
        "v=spf1 redirect=spf.protection.outlook.com",
        "v=spf1 include:nested.at -all",
        "v=spf1 redirect=nested.at",
        f"v=spf1 {'ip4:192.0.2.1 ' * 200}include:spf.protection.outlook.com -all",
    )
    fields = {"mx": tuple(GATEWAY), "tenant": "Managed"}
    rows = [Row(domain=f"h{number}.at", spf=spf, **fields) for number, spf in enumerate(records)]
    rows = [*rows, Row(domain="nested.at", spf=SPF_M365)]
    with_tenants = compare(rows, tenants=True)
    assert [each.ours.provider for each in with_tenants.verdicts[:-1]] == [Provider.M365] * len(records)
    dns_only = compare(rows)
    assert [each.ours.provider for each in dns_only.verdicts[:-1]] == [Provider.UNKNOWN] * len(records)


@pytest.mark.slow
def test_the_scanner_is_measured_beside_dnspython() -> None:
    result = CliRunner().invoke(main, ["dns", "--domains", "60", "--sample", "6"])
    assert result.exit_code == 0, result.output
    measured = json.loads(result.stdout.splitlines()[-1])
    assert (measured["scanner"]["domains"], measured["dnspython"]["domains"]) == (60, 6)
    assert measured["ratio"] > 0


@pytest.mark.slow
@pytest.mark.long
def test_ingest_is_measured_beside_a_bare_loop() -> None:
    arguments = ["ingest", "--referrals", "100", "--database", "sqlite", "--rounds", "1"]
    result = CliRunner().invoke(main, arguments)
    measured = json.loads(result.stdout.splitlines()[-1])
    assert result.exit_code == (0 if measured["ok"] else 1), result.output
    figures = measured["sqlite"]
    assert figures["load / bare loop"] == pytest.approx(figures["load_seconds"] / figures["bare_seconds"], abs=0.01)
    assert figures["load_peak_mb"] > 0
    assert figures["window: 1,000 stored / 1"] > 0


@pytest.mark.slow
@pytest.mark.long
def test_the_benchmark_of_reports_measures_each_format() -> None:
    result = CliRunner().invoke(main, ["report", "--companies", "60", "--few", "20"])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    for form in ("xlsx", "html", "csv"):
        assert all(figures[f"{form}_{name}"] > 0 for name in ("seconds", "peak", "size"))
    assert figures["xlsx_growth"] < 1.5


GOOGLE = {"mx": ["aspmx.l.google.com"], "spf": "v=spf1 include:_spf.google.com ~all"}
HOSTER = {"mx": ["mx1.turhost.com"], "spf": "v=spf1 include:_spf.turhost.com ~all"}
BOTH_SPF = "v=spf1 include:_spf.google.com include:spf.protection.outlook.com ~all"
MICROSOFT = {"spf": SPF_M365, "dkim_cname": DKIM_M365, "autodiscover_cname": AUTODISCOVER_M365}
MOVES: dict[str, list[dict[str, Any]]] = {
    # Google to Microsoft in steps: first the SPF record, then DKIM and autodiscover, at last the MX.
    "steps.at": [
        GOOGLE,
        {**GOOGLE, "spf": BOTH_SPF},
        {**GOOGLE, **MICROSOFT, "spf": BOTH_SPF},
        {**MICROSOFT, "mx": ["steps-at.mail.protection.outlook.com"]},
    ],
    # A hoster's customer gets a filter in front, behind which nothing shows.
    "filter.at": [HOSTER, HOSTER, {**HOSTER, "mx": GATEWAY}, {**HOSTER, "mx": GATEWAY}],
    # Behind a filter all the while; one day no server answers.
    "outage.at": [
        {"mx": GATEWAY, **MICROSOFT},
        {"mx": GATEWAY, **MICROSOFT},
        {"fault": "servfail"},
        {"mx": GATEWAY, **MICROSOFT},
    ],
    # Changes that decide nothing.
    "quiet.at": [{**GOOGLE, "spf": f"v=spf1 ip4:192.0.2.{day} include:_spf.google.com ~all"} for day in range(4)],
}


def replayed(tmp_path: Path, moves: dict[str, list[dict[str, Any]]]) -> Result:
    for day in range(max(map(len, moves.values()))):
        lines = [json.dumps({"domain": domain, **rows[day]}) for domain, rows in moves.items()]
        (tmp_path / f"at-2026-04-{7 * day + 1:02}.jsonl").write_text("\n".join(lines))
    return CliRunner().invoke(main, ["stability", "--zones", str(tmp_path)])


def test_a_provider_changes_only_where_a_record_that_decides_it_changed(tmp_path: Path) -> None:
    result = replayed(tmp_path, MOVES)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1] == "changed: 2, unexplained: 0"
    for domain in ("steps.at", "filter.at"):
        assert domain in result.stdout
    for domain in ("outage.at", "quiet.at"):
        assert domain not in result.stdout


def test_a_change_without_a_changed_record_is_unexplained_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(_previous: MailSignals | None, scanned: MailSignals) -> MailSignals:
        return scanned

    monkeypatch.setattr(stability, "keep_facts", forgetful)
    result = replayed(tmp_path, MOVES)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "changed: 4, unexplained: 2")


def test_zones_without_dates_are_refused(tmp_path: Path) -> None:
    (tmp_path / "at.jsonl").write_text("{}")
    result = CliRunner().invoke(main, ["stability", "--zones", str(tmp_path)])
    assert (result.exit_code, "at-2026-04-01.jsonl" in result.output) == (1, True)
