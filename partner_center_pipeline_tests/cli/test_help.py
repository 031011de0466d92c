"""What `partner-center` says about itself."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from partner_center_pipeline.cli import main
from partner_center_pipeline.cli.base import COMMANDS

OPTIONS = {
    "demo": ["--json", "--language", "--open"],
    "init": ["[FOLDER]", "--json"],
    "ui": ["--demo", "--host", "--port", "--allow-remote", "--name", "--read-only", "--open", "--link"],
    "login": ["--browser"],
    "token": ["status", "rotate-key"],
    "doctor": ["--json"],
    "status": ["--json", "Exit code   0"],
    "metrics": ["--listen", "127.0.0.1"],
    "sync": ["--from", "--to", "--wait", "--json", "exit code 3"],
    "accept-account": [],
    "reconcile": ["--wait", "--json", "--recent", "--accept-vanished", "exit code 3"],
    "quarantine": ["list", "show", "replay"],
    "drift": ["--json"],
    "rescan": ["--json"],
    "rescore": ["--rules", "--dry-run", "--top", "--json"],
    "inspect": ["--json", "--language"],
    "export": [
        "--format",
        "--output",
        "--language",
        "--segment",
        "--category",
        "--source",
        "--due-within",
        "--with-contacts",
        "--since",
        "--json",
    ],
    "connect": ["powerbi", "excel", "reader"],
    "alerts": ["send", "list", "check", "test", "HUNTER_TEAMS_WEBHOOK_URL", "HUNTER_OPERATORS_MAIL_TO"],
    "lead": ["list", "show", "set-domain", "clear-domain", "mark"],
    "matches": ["list", "accept", "reject", "undo"],
    "decisions": ["import"],
    "migrate": [],
    "migrate-warehouse": ["--to", "--dry-run", "--json", "postgresql+psycopg://", "read only", "HUNTER_DATABASE_URL"],
    "compact-windows": ["--keep-days", "--dry-run", "--json", "80,000", "Reload"],
    "prune": ["--dry-run", "--json", "HUNTER_DAGSTER_RUNS_KEPT_DAYS"],
    "subject": ["find", "export", "erase", "docs/personal_data.md"],
    "backup": ["--to", "--json", "pg_dump", "personal data", "partner-center restore"],
    "restore": ["--from", "--overwrite", "--keep-settings", "--json", "HUNTER_HOME=/tmp/tried"],
    "simulate": ["--referrals", "--seed", "--live", "--https-port", "--dns-port"],
}


def test_the_help_lists_every_command_with_a_summary() -> None:
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    listed = shown.output.partition("\nCommands:\n")[2]
    for name in COMMANDS:
        assert any(line.split()[0] == name and len(line.split()) > 3 for line in listed.splitlines())


@pytest.mark.parametrize("name", list(COMMANDS))
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_each_command_explains_itself_and_its_options(name: str, flag: str) -> None:
    shown = CliRunner().invoke(main, [name, flag])
    assert shown.exit_code == 0
    for option in OPTIONS[name]:
        assert option in shown.output


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("powerbi", ["--output", "--server", "--json", "Examples:"]),
        ("excel", ["--output", "--view", "--with-contacts", "--server", "--driver", "--json", "Examples:"]),
        ("reader", ["--password-stdin", "--new-password", "--revoke", "--json", "Examples:", "personal data"]),
    ],
)
def test_each_connection_explains_itself_and_its_options(name: str, options: list[str]) -> None:
    shown = CliRunner().invoke(main, ["connect", name, "--help"])
    assert shown.exit_code == 0
    for option in options:
        assert option in " ".join(shown.output.split())


@pytest.mark.slow
def test_help_answers_without_loading_dagster_or_pandas() -> None:
    code = (
        "import sys; from partner_center_pipeline.cli import main; main(['--help'], standalone_mode=False); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} & {'dagster', 'pandas'}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == ""


def test_an_unknown_command_is_refused_with_a_usage_line() -> None:
    shown = CliRunner().invoke(main, ["sink"])
    assert shown.exit_code == 2
    assert "No such command 'sink'" in shown.output
