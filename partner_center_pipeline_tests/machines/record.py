"""What the local Microsoft saw: which connection asked when. And the rules about it.

A fetch has one HTTP client, so a connection belongs to one fetch, and its address and port are those of no other.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from partner_center_simulator.paging import PATH

_TOKEN_PATH: Final = "/oauth2/v2.0/token"


class Asked(NamedTuple):
    """A request to the Referrals API: who sent it, and when it came and was answered (monotonic seconds)."""

    client: tuple[str, int]
    began: float
    ended: float


@dataclass
class Recorder:
    """Keeps the requests that reach an application, and when tokens were given."""

    app: ASGIApp
    asked: list[Asked] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        path, client = scope.get("path", ""), tuple(scope.get("client") or ("", 0))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and path.endswith(_TOKEN_PATH) and message["status"] == 200:
                self.tokens.append(time.monotonic())
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            if path.startswith(PATH):
                self.asked.append(Asked((client[0], client[1]), began, time.monotonic()))

    def clients(self) -> list[tuple[str, int]]:
        """Return who asked, in the order of asking."""
        return [one.client for one in sorted(self.asked, key=lambda one: one.began)]


def at_once(asked: Iterable[Asked]) -> int:
    """Return the largest number of requests that were under way at one time."""
    changes = sorted(change for one in asked for change in ((one.began, 1), (one.ended, -1)))
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def interleaved(clients: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return the connections that asked again after one of another machine had asked: two fetched at the same time."""
    ended: set[tuple[str, int]] = set()
    found: list[tuple[str, int]] = []
    now: set[tuple[str, int]] = set()
    host = ""
    for client in clients:
        if client[0] != host:
            ended |= now
            now, host = set(), client[0]
        if client in ended and client not in found:
            found.append(client)
        now.add(client)
    return found
