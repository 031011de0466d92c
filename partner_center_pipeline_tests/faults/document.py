"""Running every fault, and the page that lists what was seen, without what differs from run to run.

Not here: the faults (`table`).
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from partner_center_pipeline_tests.faults.bench import Surroundings, bench
from partner_center_pipeline_tests.faults.table import FAULTS, Fault

_HEAD: Final = """\
# Faults

What goes wrong, what a person sees of it in the run or in the command, and what is lost. Each line was really run
against the local Microsoft: under the fault first, then, unless nothing but a run that ends well is seen, with the
fault gone and one clean run, and then the tables were compared with the server. Written by
`python -m partner_center_pipeline_tests.faults --write docs/faults.md`; a test keeps it so. `<...>` stands for what
differs from run to run.

"Recovers by itself" is "yes" where the next run is good as soon as the cause is gone. Otherwise a person acts first:
puts a setting or the sign-in right, or does what the text says.

| Fault | What happens | What you see | Recovers by itself | Rows lost |
|---|---|---|---|---|
"""

_DIFFERS: Final = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<instant>"),
    (r"\d{4}-\d\d-\d\d-\d\d:\d\d", "<window>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d", "<time>"),
    (r" \(Tried \d+ times, waited \d+ s\.\)", ""),  # on a busy machine there is one try
    (r"\d+ of \d+ leads", "<n> of <n> leads"),
    (r"after \d+ tries", "after <n> tries"),
    (r"clock is \d+ s", "clock is <n> s"),
    (r"(Read|Connect|Write)(Error|Timeout)|RemoteProtocolError", "<error>"),
    (r"(localhost|127\.0\.0\.1):\d{4,5}", r"\1:<port>"),
)


_FOR_A_PERSON: Final = ("partner-center login", "partner-center accept-account", "It needs the Partner Center role")
"""What a text asks a person for, so that the pipeline cannot go on before."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one fault did: the text that a person saw, if a person has to act, rows that were lost, seconds it took."""

    fault: Fault
    seen: str
    person_acts: bool
    lost: int
    seconds: float


_ENDED_WELL: Final = r"Nothing; the run (is retried inside and )?ends well\."
"""What is seen of a run that has everything: it is counted at once, so that no later run can bring what it left out."""


def run_all(
    around: Surroundings, say: Callable[[Line], None] = lambda _: None, faults: Sequence[Fault] = FAULTS
) -> list[Line]:
    """Run a pipeline under each fault, recover it, and count lost rows.

    Raises AssertionError if it does not recover.
    """
    lines = []
    for fault in faults:
        started = time.monotonic()
        with bench(around, fault.name) as here:
            try:
                seen = fault.act(here)
                personal = [value for value in here.personal() if value in seen]
                assert not personal, "the message names a person or a customer"
                if not re.fullmatch(_ENDED_WELL, seen):
                    here.recover()
                lost = here.lost()
            except BaseException as error:
                error.add_note(f"fault {fault.name!r}")
                raise
            person_acts = here.person_acted or any(command in seen for command in _FOR_A_PERSON)
            line = Line(fault, _settled(seen, str(here.home)), person_acts, lost, time.monotonic() - started)
        lines.append(line)
        say(line)
    return lines


def _settled(text: str, home: str) -> str:
    text = text.replace(home, "<home>")
    for pattern, instead in _DIFFERS:
        text = re.sub(pattern, instead, text)
    return " ".join(text.split())


def written(lines: Sequence[Line]) -> str:
    """The document that holds these lines."""
    return _HEAD + "".join(f"{row(line)}\n" for line in lines)


def row(line: Line) -> str:
    """The row of the document that holds a line."""
    recovers = "no" if line.person_acts else "yes"
    cells = (line.fault.name, _cell(line.fault.how), _cell(line.seen), recovers, line.lost or "none")
    return f"| {' | '.join(map(str, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
