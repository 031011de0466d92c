"""Processes that use one sign-in as separate machines would: each opens its own home folder's settings."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from partner_center_pipeline.partner_center import connect_sign_in
from partner_center_pipeline.settings import Settings
from partner_center_pipeline.warehouse.tokens import shared_sign_in

_SECONDS = 60


def _renew(home: Path, together: Barrier, tokens: "Queue[str]") -> None:
    os.environ["HUNTER_HOME"] = str(home)
    settings = Settings.load()
    with shared_sign_in(settings) as place, connect_sign_in(settings, place) as sign_in:
        sign_in.token()
        together.wait(_SECONDS)  # every process has the token that is stored now
        together.wait(_SECONDS)
        tokens.put(sign_in.token(renew=True))


@contextmanager
def renewing_at_once(homes: Sequence[Path]) -> Iterator[list[str]]:
    """A process for each home folder; when the block ends all renew at once. Then the list holds their new tokens."""
    context = multiprocessing.get_context("spawn")
    together, tokens = context.Barrier(len(homes) + 1), context.Queue()
    processes = [context.Process(target=_renew, args=(home, together, tokens)) for home in homes]
    for process in processes:
        process.start()
    together.wait(_SECONDS)
    renewed: list[str] = []
    yield renewed
    together.wait(_SECONDS)
    for process in processes:
        process.join(_SECONDS)
    assert [process.exitcode for process in processes] == [0] * len(homes)
    renewed.extend(tokens.get(timeout=_SECONDS) for _ in homes)
