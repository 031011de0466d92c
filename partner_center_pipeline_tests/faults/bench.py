"""A pipeline that runs under a fault: what a fault may change, recovery, and counting lost rows.

Not here: the faults (`table`), the page that lists them (`document`).
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
from sqlalchemy import Engine, event, select, update

from partner_center_pipeline.defs import asset_run, checks, window_fetch
from partner_center_pipeline.mail import resolver, scanner
from partner_center_pipeline.partner_center import connect_sign_in, http, token_store
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse import locks, schema
from partner_center_pipeline.warehouse.database import Warehouse
from partner_center_pipeline.windows import SyncWindow, parse_ticks
from partner_center_pipeline_tests.defs.project import Outcome, Project
from partner_center_simulator import Faults, Simulator

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
_IN_THE_WORLD: Final = 40
_AT_ONE_INSTANT: Final = 25

PAGE_SIZE: Final = 10


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all faults share: a folder, the local Microsoft, a signed-in token cache, a migrated database file."""

    folder: Path
    microsoft: Simulator
    token_cache: Path
    template: Path
    start: datetime


@contextmanager
def surroundings(folder: Path) -> Iterator[Surroundings]:
    """Start a local Microsoft with referrals in some windows, more than a page of them updated at one instant."""
    now = datetime.now(UTC)
    start = now.replace(minute=now.minute // 10 * 10, second=0, microsecond=0) - timedelta(minutes=90)
    with (
        pytest.MonkeyPatch.context() as patch,
        Simulator(7, now, _IN_THE_WORLD, recent_from=start, directory=folder / "microsoft") as microsoft,
    ):
        microsoft.entra.device_code_interval = 1
        at = parse_ticks(f"{start:%Y-%m-%dT%H:%M:%SZ}") + 1_000_000_000
        for _ in range(_AT_ONE_INSTANT):
            microsoft.world.create(at)
        for name in [name for name in os.environ if name.upper().startswith("HUNTER_")]:
            patch.delenv(name)
        cache = folder / "signed-in"
        with pytest.MonkeyPatch.context() as signing_in:
            signing_in.setenv("HUNTER_HOME", str(folder))
            for name, value in microsoft.environment().items():
                signing_in.setenv(name, value)
            signing_in.setenv("HUNTER_PARTNER_CENTER_TOKEN_CACHE_PATH", str(cache))
            with connect_sign_in(Settings.load()) as sign_in:
                code = sign_in.begin()
                microsoft.approve(code.user_code)
                sign_in.finish(code)
        template = folder / "template.db"
        db = Warehouse(f"sqlite:///{template}")
        db.migrate()
        db.close()
        yield Surroundings(folder, microsoft, cache, template, start)


class Bench:
    """One pipeline, working until its fault."""

    def __init__(self, around: Surroundings, home: Path, project: Project, patch: pytest.MonkeyPatch) -> None:
        self.microsoft = around.microsoft
        self.faults: Faults = around.microsoft.faults
        self.home = home
        self.project = project
        self.patch = patch
        self.variables = dict(project.variables)
        self.person_acted = False
        """Whether a person had to put something back: a setting, or the sign-in."""
        self._end_of_first = project.window(0).end

    # What a fault may do

    def shorten_timeouts(self) -> None:
        """Let a run give up after three seconds instead of minutes or hours, and a sign-in after two."""
        self.patch.setattr(window_fetch, "_deadline", lambda *_: 3.0)
        self.patch.setattr(window_fetch, "PATIENCE", 1.0)
        self.patch.setattr(http, "MAX_SIGN_IN_WAIT", 2.0)
        self.patch.setattr(token_store, "LOCK_SECONDS", 1.0)

    def wait_for_no_lease(self) -> None:
        """Do not wait for another run's lease to end."""
        self.patch.setattr(asset_run, "LEASE_SECONDS", -14.0)

    @contextmanager
    def each_connection(self, pragma: str) -> Iterator[None]:
        """Set a pragma on each connection to the warehouse's file that is opened meanwhile."""

        def prepare(connection: Any, _record: object) -> None:
            if connection.execute("PRAGMA database_list").fetchone()[2].endswith("/hunter.db"):
                connection.execute(f"PRAGMA {pragma}")

        event.listen(Engine, "connect", prepare)
        try:
            yield
        finally:
            event.remove(Engine, "connect", prepare)

    # What a person does, and sees

    def run(self, window: SyncWindow | None = None, *assets: str) -> str:
        """Materialize the first window (or another) and say what the run shows."""
        window = window or self.project.window(0)
        return self.shown(self.project.run(window, assets=assets or None), window)

    def shown(self, outcome: Outcome, window: SyncWindow) -> str:
        """A failed run's message, which asset it was; a good run's state, with what it mentions."""
        if not outcome.success:
            assert outcome.failure, "a run failed without a word"
            step = "" if outcome.failed_step == "raw_referrals" else f" (asset {outcome.failed_step})"
            return f"{outcome.failure}{step}"
        figures = outcome.metadata["raw_referrals", window.key]
        parts = ["Nothing; the run is retried inside and ends well." if figures["seconds_waited"]
                 else "Nothing; the run ends well."]  # fmt: skip
        if figures["quarantined"]:
            parts.append(f"In quarantine: {self._quarantined()}.")
        unanswered = outcome.metadata.get(("domain_signals", window.key), {}).get("without_an_answer")
        if unanswered and outcome.metadata["scored_segments", window.key]["segment_Pending"]:
            parts.append("Companies without an answer: segment Pending, asked again later.")
        parts += self._red([checks.DNS])
        return " ".join(parts)

    def _quarantined(self) -> str:
        table = schema.quarantined_referrals
        with self.project.warehouse.read() as connection:
            rows = connection.execute(select(table.c.reason, table.c.path).distinct().order_by(table.c.reason))
            return ", ".join(f"{reason} at {path or 'the whole'}" for reason, path in rows)

    def reconcile(self) -> str:
        """Compare everything with Partner Center, as the weekly job does, and say what it shows."""
        job = self.project.definitions.resolve_job_def("partner_center_reconcile")
        result = job.execute_in_process(instance=self.project.instance, raise_on_error=False, run_config=_QUIET)
        for failed in result.get_step_failure_events():
            data = failed.step_failure_data
            return str(data.user_failure_data.description if data.user_failure_data else data.error)
        (shown,) = [event.step_output_data.metadata for event in result.all_events if event.is_successful_output]
        counts = {
            name: shown[name].value
            for name in (
                "missed_by_complete_windows", "dated_in_the_future", "marked_as_vanished", "shown_again",
            )
        }  # fmt: skip
        parts = [f"The weekly comparison ends well: {', '.join(f'{name} {count}' for name, count in counts.items())}."]
        if shown["quarantined"].value:
            parts.append(f"In quarantine: {self._quarantined()}.")
        parts += self._red([checks.MISSED, checks.VANISHED])
        return " ".join(parts)

    def _red(self, names: Sequence[str]) -> list[str]:
        """What the checks say that are red."""
        with self.project.warehouse.read() as connection:
            found = [check for check in checks.evaluate(connection, names) if not check.passed]
        red = [check for check in found if check.severity is dg.AssetCheckSeverity.ERROR]
        return [f"Check {check.check_name}: {check.description}" for check in red]

    def alert(self) -> str:
        """Send what waits to Teams, as the schedule does, and say what the run shows."""
        job = self.project.definitions.resolve_job_def("partner_center_alerts")
        result = job.execute_in_process(instance=self.project.instance, run_config=_QUIET)
        (shown,) = [event.step_output_data.metadata for event in result.all_events if event.is_successful_output]
        assert shown["waiting"].value
        return str(shown["failed"].value)

    @contextmanager
    def created(self, updated: str | None) -> Iterator[None]:
        """Let a referral be there that has this `updatedDateTime`; afterwards it has a right one."""
        row = self.microsoft.world.create(self.project.window(0).start, {"updatedDateTime": updated})
        try:
            yield
        finally:
            self.microsoft.world.change(row["id"], self.project.window(0).start, {})

    def sign_in(self) -> str:
        """Sign in by device code and say how that ends."""
        with connect_sign_in(Settings.load()) as sign_in:
            code = sign_in.begin()
            self.microsoft.approve(code.user_code)
            sign_in.finish(code)
        return "Nothing; the sign-in ends well."

    # Recovery

    def recover(self) -> None:
        """Remove the fault, restore the settings, run the first window once more, and rescan what has no answer."""
        self.person_acted |= self.project.variables != self.variables
        self.patch.undo()
        self.patch.setenv("HUNTER_HOME", str(self.home))
        self.patch.chdir(self.home)
        self.faults.clear()
        self.microsoft.clock.set(datetime.now(UTC))
        self.project.variables.clear()
        self.project.edit_env(**self.variables)
        outcome = self.project.run(self.project.window(0))
        assert outcome.success, f"the clean run failed: {outcome.failure}"
        with self.project.warehouse.write() as connection:
            long_ago = datetime.now(UTC) - timedelta(days=1)
            unanswered = connection.execute(
                update(schema.domain_signals)
                .where(schema.domain_signals.c.is_complete.is_(False))
                .values(next_scan_at=long_ago)
            )
        if not unanswered.rowcount:
            return
        rescan = self.project.definitions.resolve_job_def("partner_center_rescan")
        assert rescan.execute_in_process(
            instance=self.project.instance, raise_on_error=False, run_config=_QUIET
        ).success

    def lost(self) -> int:
        """Count versions, leads and scores that are missing for the server's referrals."""
        rows = self._of_first_window()
        with self.project.warehouse.read() as connection:
            leads = {row.referral_id: row.domain for row in connection.execute(select(schema.leads))}
            scored = set(
                connection.execute(
                    select(schema.company_scores.c.domain).where(schema.company_scores.c.segment != "Pending")
                ).scalars()
            )
        assert len(rows) > PAGE_SIZE
        missing = sum(row["id"] not in leads for row in rows)
        unscored = {domain for domain in leads.values() if domain} - scored
        return self.not_stored() + missing + len(unscored)

    def not_stored(self) -> int:
        """Count the server's referrals of the first window whose version is not in raw_referrals."""
        raw = schema.raw_referrals
        with self.project.warehouse.read() as connection:
            kept = {(row.referral_id, row.etag) for row in connection.execute(select(raw))}
        return sum((row["id"], row["eTag"]) not in kept for row in self._of_first_window() if "eTag" in row)

    def _of_first_window(self) -> list[dict[str, Any]]:
        """The server's referrals that the first window holds: it has no lower bound."""
        return [row for row in self.microsoft.world.all() if parse_ticks(row["updatedDateTime"]) < self._end_of_first]

    def personal(self) -> set[str]:
        """Each contact's last name, e-mail address and phone, and each customer's name."""
        found: set[str] = set()
        for row in self.microsoft.world.all():
            customer = row.get("customerProfile") or {}
            found.add(str(customer.get("name") or ""))
            for contact in (*(customer.get("team") or ()), *(row.get("team") or ())):
                found |= {str(contact.get(name) or "") for name in ("lastName", "email", "phoneNumber")}
        return {value for value in found if len(value) > 4}


@contextmanager
def bench(around: Surroundings, name: str) -> Iterator[Bench]:
    """A fresh pipeline, signed in and switched on, that has synced nothing yet."""
    home = around.folder / "".join(letter if letter.isalnum() else "-" for letter in name)
    (home / ".hunter").mkdir(parents=True)
    shutil.copyfile(around.template, home / ".hunter/hunter.db")
    shutil.copytree(around.token_cache, home / ".token_cache")
    variables = {
        **around.microsoft.environment(),
        "HUNTER_PARTNER_CENTER_ENABLED": "true",
        "HUNTER_PARTNER_CENTER_PAGE_SIZE": str(PAGE_SIZE),
        "HUNTER_SYNC_START": f"{around.start:%Y-%m-%dT%H:%M:%SZ}",
        "HUNTER_DKIM_SELECTORS": "selector1",
    }
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setenv("HUNTER_HOME", str(home))
        patch.chdir(home)
        patch.setattr(resolver, "TRY_SECONDS", 0.1)
        patch.setattr(scanner, "DOMAIN_SECONDS", 3.0)
        patch.setattr(locks, "BUSY_SECONDS", 1)
        project = Project(home, variables, instance)
        try:
            yield Bench(around, home, project, patch)
        finally:
            around.microsoft.faults.clear()
            around.microsoft.clock.set(datetime.now(UTC))
            project.warehouse.close()
    shutil.rmtree(home)
