"""One run of the real job in a process of its own: the assets from the API to scored_segments, by Dagster.

Two parts are stand-ins: the client of the Referrals API has a token without a sign-in, and DNS answers at once with one
of a few mail set-ups, as a domain's records do that were asked before. Not here: what is measured with it (`reads`).
"""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import click

from partner_center_pipeline_tests.benchmarks.pages import Address

_MODULE: Final = "partner_center_pipeline_tests.benchmarks.whole_chain"


@dataclass(frozen=True, slots=True)
class Task:
    """Windows that a process runs one after the other, each by a run of its own."""

    home: str
    database_url: str
    base_url: str
    ca_bundle: str
    windows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the process took: seconds and CPU seconds of each run, and its memory at its largest, in MB."""

    seconds: tuple[float, ...]
    cpu: tuple[float, ...]
    peak: float


def run(task: Task) -> Outcome:
    """Run a task in a process of its own. Raises ClickException with what it said when a run fails."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("HUNTER_")}
    environment |= {"HUNTER_HOME": task.home, "DAGSTER_HOME": task.home}
    done = subprocess.run(
        [sys.executable, "-m", _MODULE, json.dumps(asdict(task))],
        capture_output=True,
        text=True,
        timeout=4 * 3600,
        env=environment,
    )
    if done.returncode != 0:
        raise click.ClickException(f"the windows {', '.join(task.windows)} failed:\n{done.stderr[-3000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Outcome(tuple(told["seconds"]), tuple(told["cpu"]), told["peak"])


def prepared(home: Path, address: Address, database_url: str, first: datetime) -> None:
    """Write the settings of an installation into its home folder."""
    home.mkdir(exist_ok=True)
    (home / ".env").write_text(
        "".join(
            f"{name}='{value}'\n"
            for name, value in {
                "HUNTER_DATABASE_URL": database_url,
                "HUNTER_PARTNER_CENTER_ENABLED": "true",
                "HUNTER_PARTNER_CENTER_BASE_URL": address.base_url,
                "HUNTER_PARTNER_CENTER_CA_BUNDLE": address.ca_bundle,
                "HUNTER_SYNC_START": f"{first:%Y-%m-%dT%H:%M:%SZ}",
                "HUNTER_DNS_RESOLVERS": "127.0.0.1:1",
            }.items()
        )
    )
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")


def _measure(task: Task) -> Outcome:
    """Do the runs in this process."""
    import dagster as dg

    from partner_center_pipeline.defs.build import build_defs
    from partner_center_pipeline.defs.resources import MailResource, PartnerCenterResource
    from partner_center_pipeline.mail import MailSignals
    from partner_center_pipeline.partner_center import ReferralsClient, build_http
    from partner_center_pipeline.settings import Settings
    from partner_center_pipeline_tests.benchmarks.ingest import peak_memory

    def token(*, renew: bool = False) -> str:
        return "any"

    class WithoutSignIn(PartnerCenterResource):
        @contextmanager
        def open(
            self, settings: Settings, *, deadline: float, asking: Callable[[], None] = lambda: None
        ) -> Iterator[ReferralsClient]:
            with build_http(settings) as http:
                url, size = settings.partner_center_base_url, settings.partner_center_page_size
                yield ReferralsClient(http, token, url, size, deadline_seconds=deadline, asking=asking)

    class AtOnce(MailResource):
        @contextmanager
        def open(
            self, settings: Settings
        ) -> Iterator[Callable[[Sequence[str], Mapping[str, MailSignals]], Iterator[MailSignals]]]:
            yield lambda domains, _known: (answer(domain) for domain in domains)

    definitions = build_defs(Settings.load().grid)
    job = definitions.resolve_job_def("partner_center_sync")
    resources = {"partner_center": WithoutSignIn(), "mail": AtOnce()}
    gc.collect()
    gc.freeze()  # as `definitions` does
    seconds, cpu = [], []
    with dg.DagsterInstance.get() as instance:
        for window in task.windows:
            start, before = time.perf_counter(), time.process_time()
            result = job.execute_in_process(
                instance=instance,
                partition_key=window,
                raise_on_error=True,
                resources={**(definitions.resources or {}), **resources},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
            assert result.success
            seconds.append(round(time.perf_counter() - start, 4))
            cpu.append(round(time.process_time() - before, 4))
            print(window, seconds[-1], cpu[-1], peak_memory(), file=sys.stderr, flush=True)
    return Outcome(tuple(seconds), tuple(cpu), round(peak_memory(), 1))


_SET_UPS: Final = (
    ("10 {0}.mail.protection.outlook.com", "v=spf1 include:spf.protection.outlook.com -all", "v=DMARC1; p=reject"),
    ("1 aspmx.l.google.com", "v=spf1 include:_spf.google.com ~all", "v=DMARC1; p=none"),
    ("10 mx.yandex.net", "v=spf1 redirect=_spf.yandex.net", None),
    ("10 mail.{0}.com.tr", "v=spf1 a mx -all", None),
    ("10 mail.{0}.com.tr", None, None),
    ("10 mx.zoho.com", "v=spf1 include:zoho.com ~all", "v=DMARC1; p=quarantine"),
    ("10 mx01.natrohost.com", "v=spf1 a mx -all", None),
)
"""MX, SPF and DMARC of a domain; {0} stands for its first label."""


def answer(domain: str) -> Any:
    """What DNS says of a domain: one of a few set-ups, the same each time."""
    from partner_center_pipeline.mail.classification import conclude
    from partner_center_pipeline.mail.signals import DMARC, MX, TXT, Lookup, dkim_lookup
    from partner_center_pipeline.mail.signals import Outcome as Ended

    now = datetime.now(UTC)
    label = domain.partition(".")[0]
    drawn = int(sha256(domain.encode()).hexdigest()[:8], 16)
    mx, spf, dmarc = _SET_UPS[drawn % len(_SET_UPS)]

    def lookup(text: str | None) -> Lookup:
        if text is None:
            return Lookup(Ended.NODATA, answered_at=now)
        return Lookup(Ended.FOUND, (text.format(label),), answered_at=now)

    keys = {dkim_lookup(name): lookup("v=DKIM1; p=MIG" if drawn % 3 == 0 else None) for name in ("default", "s1", "s2")}
    return conclude(domain, {MX: lookup(mx), TXT: lookup(spf), DMARC: lookup(dmarc), **keys}, now)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(asdict(_measure(Task(**{**given, "windows": tuple(given["windows"])})))))
