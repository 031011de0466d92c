"""A full disk is told in one sentence with the next step, and the next run goes on when there is space again."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from partner_center_pipeline_tests.cli.commands import free_port
from partner_center_pipeline_tests.cli.conftest import Home
from partner_center_pipeline_tests.cli.small_disk import run_on_small_disk
from partner_center_simulator import Simulator

pytestmark = pytest.mark.slow

NEXT = "What was fetched is kept|goes on from where this one ended|has space|[Ff]ree some space"


def on_disk(place: Home, kilobytes: int, script: str) -> "subprocess.CompletedProcess[str]":
    """Run a script on a disk of this size that holds the home folder."""
    before = place.path.parent / "before"
    shutil.copytree(place.path, before)
    return run_on_small_disk(place.path, kilobytes, 'cp -r "$BEFORE/." "$HUNTER_HOME"\n' + script, BEFORE=str(before))


def told(stderr: str) -> str:
    """What is said of the error, which is all that is said."""
    assert "Traceback" not in stderr, stderr[-3000:]
    assert "sqlalche.me" not in stderr, stderr[-3000:]
    (error,) = re.findall(r"^error (.*)$", stderr, re.MULTILINE)
    assert re.search(NEXT, error), error
    return str(error)


def test_without_room_for_a_run_none_begins_and_it_says_how_much_is_missing(ready: Home) -> None:
    done = on_disk(
        ready,
        20_000,
        f"$PC sync || echo code $?; ls -A $HUNTER_HOME; echo second >&2; $PC ui --port {free_port()} || echo code $?",
    )
    assert done.stderr.count("second\n") == 1, done.stderr
    for stderr in done.stderr.split("second\n"):
        assert re.search(r"has [\d.]+ MB free, and a run needs 50 MB: free some space", told(stderr))
    assert done.stdout.split() == ["code", "1", ".env", ".hunter", ".token_cache", "dagster.yaml", "code", "1"]


def test_a_disk_that_fills_up_in_a_run_ends_it_in_words_and_the_next_one_goes_on(
    ready: Home, microsoft: Simulator
) -> None:
    ready.edit_env(HUNTER_PARTNER_CENTER_PAGE_SIZE="10")
    microsoft.faults.slow_seconds = 0.3
    done = on_disk(
        ready,
        80_000,
        """
        $PC sync & sync=$!
        log="$HUNTER_HOME/.hunter/hunter.db-wal"
        until [ -e "$log" ] && [ "$(stat -c %s "$log")" -gt 300000 ]; do sleep 0.1; done
        dd if=/dev/zero of="$HUNTER_HOME/fill" bs=64k 2>/dev/null || true
        wait $sync || echo code $?
        rm "$HUNTER_HOME/fill"
        echo again >&2
        $PC sync && echo fine
        """,
    )
    first, _, second = done.stderr.partition("again\n")
    assert "code 1\n" in done.stdout, done.stderr[-3000:]
    told(first)
    assert done.stdout.endswith("fine\n"), second[-3000:]
    assert "Traceback" not in second
    assert re.search(r"120 new or changed|(\d+) new or changed, (\d+) known already", done.stdout)


def test_a_disk_that_is_full_for_dagsters_storage_alone_is_told_in_words(ready: Home) -> None:
    done = on_disk(
        ready,
        200_000,
        'mkdir "$HUNTER_HOME/.dagster"; mount -t tmpfs -o size=300k tmpfs "$HUNTER_HOME/.dagster"\n'
        "$PC sync || echo code $?; umount $HUNTER_HOME/.dagster; $PC sync && echo fine",
    )
    assert "code 1\n" in done.stdout
    first = done.stderr.partition("done ")[0]
    assert "Dagster's storage cannot be used" in told(first)
    assert done.stdout.endswith("fine\n")


def test_on_a_full_disk_the_stored_sign_in_stays_as_it_was(ready: Home) -> None:
    done = on_disk(
        ready,
        2_000,
        """
        dd if=/dev/zero of="$HUNTER_HOME/fill" bs=4k 2>/dev/null || true
        $PC token rotate-key || echo code $?
        ls -A "$HUNTER_HOME/.token_cache"
        rm "$HUNTER_HOME/fill"
        $PC token rotate-key >/dev/null && echo fine
        """,
    )
    assert "The sign-in cannot be stored in" in told(done.stderr)
    assert "No space left on device" in done.stderr
    assert done.stdout.split() == ["code", "1", "sign_in.bin", "sign_in.key", "sign_in.lock", "fine"]


def test_a_backup_that_the_disk_has_no_space_for_leaves_nothing_behind(ready: Home) -> None:
    done = on_disk(
        ready,
        4_000,
        """
        cd "$HUNTER_HOME"
        $PC drift >/dev/null
        dd if=/dev/zero of=fill bs=4k 2>/dev/null || true
        truncate -s -200k fill
        $PC backup --to backups >/dev/null || echo code $?
        ls -A backups
        """,
    )
    assert "cannot be copied" in told(done.stderr)
    assert done.stdout == "code 1\n"


def test_a_log_that_cannot_be_written_ends_no_sync_and_changes_no_exit_code(ready: Home) -> None:
    done = on_disk(ready, 200_000, "$SCRIPT sync 2>/dev/full && echo fine")
    assert re.search(r"^Done: \d+ windows. 1\d\d rows fetched", done.stdout)
    assert done.stdout.endswith("fine\n")
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", ["drift --json", "--help"])
def test_output_that_cannot_be_written_is_said_without_a_traceback(home: Path, arguments: str) -> None:
    done = run_on_small_disk(home, 4_000, f"$SCRIPT {arguments} > /dev/full || echo code $? >&2")
    assert "nothing more can be written (No space left on device)" in done.stderr
    assert done.stderr.endswith("code 1\n")
    assert "Traceback" not in done.stderr


def test_a_home_that_may_not_be_written_is_said_by_each_command(ready: Home, tmp_path: Path) -> None:
    commands = ("sync", "demo", "rescan", "reconcile", "migrate", "drift", "token rotate-key", "prune", "backup --to b")
    script = "mount -o remount,ro $HUNTER_HOME\ncd $HUNTER_HOME\n" + "".join(
        f'$PC {command} 2>"$OUT/{number}" >&2 && echo fine || true\n' for number, command in enumerate(commands)
    )
    before = ready.path.parent / "before"
    shutil.copytree(ready.path, before)
    done = run_on_small_disk(
        ready.path, 200_000, 'cp -r "$BEFORE/." "$HUNTER_HOME"\n' + script, BEFORE=str(before), OUT=str(tmp_path)
    )
    assert done.stdout == "", done.stderr
    for number, command in enumerate(commands):
        said = (tmp_path / str(number)).read_text()
        assert "Traceback" not in said, (command, said[-2000:])
        assert re.search(r"^error .*(written|writable|made|nothing to save)", said, re.MULTILINE), (command, said)
