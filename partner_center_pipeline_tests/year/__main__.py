"""`python -m partner_center_pipeline_tests.year`: a day of windows by schedule, thirty days by ranges, and troubles.

What is real: Dagster's scheduler, sensor and queue functions (`loops`), its storage in SQLite, the project's schedules,
sensors, jobs and settings, a local Microsoft over HTTPS and DNS whose world changes as time passes, PostgreSQL as the
warehouse, a receiver of operators' messages over HTTPS, SIGKILL, the stop and start of the database, and a file system
without a free byte. Time is stepped: libfaketime shows each step to the process and to the database.

What is not: the daemon, the code server and the runs are one process, one after the other (an installation has
several, which `ui/` tests); a round of the loops is made at three instants of each window instead of every few seconds;
a machine that is off for a day stands for the days by ranges; and pauses between retries would take real time, so that
Partner Center refuses the account instead of being away.
"""

import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from partner_center_pipeline_tests.year.course import FULL, SHORT, Outcome, YearError, prepared


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--short", is_flag=True, help="Some windows by schedule and one short range, with the same troubles.")
@click.option("--keep", is_flag=True, help="Keep the folder with the logs also when all is well.")
def main(short: bool, keep: bool) -> None:
    """Let a year's troubles happen to an installation, and say what was missed, told and left on disk.

    Exit code 1 when a window is missing, an operators' message came twice or did not clear, or the storage is over its
    bound. The last line is JSON. Needs root (a file system is mounted) and libfaketime (`apt-get install faketime`).
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's shell in the background ignores it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started ends, too
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="year-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user

    def say(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {text}", err=True)

    outcome = Outcome()
    try:
        with prepared(SHORT if short else FULL, folder, say) as course:
            try:
                course.work()
            except YearError as error:
                outcome.wrong.append(str(error))
            course.judge(outcome)
    except YearError as error:
        outcome.wrong.append(str(error))
    for wrong in outcome.wrong:
        say(f"wrong: {wrong}")
    if keep or outcome.wrong:
        say(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    click.echo(json.dumps({**outcome.shown(), "seconds": round(time.monotonic() - began)}))
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main(prog_name="python -m partner_center_pipeline_tests.year")
