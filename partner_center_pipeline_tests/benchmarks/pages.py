"""A fast server of referral pages in a process of its own, for `ingest`.

The simulator makes each payload when it is requested, which takes longer than storing it. Here 2,000 of its payloads
are templates; a row is one of them with its own id, eTag and `updatedDateTime`. Paging is the API's: `$filter` on
`updatedDateTime` or none, both orders of it, `$top`, `$skip`, and a next link with a token for the position behind the
last row. Not here: sign-in, faults, any other query (`partner_center_simulator`).
"""

import multiprocessing
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import orjson
import trustme
import uvicorn

from partner_center_pipeline.windows import TICKS_PER_SECOND, WindowGrid, parse_ticks, render_ticks, ticks_of
from partner_center_simulator.world import World

ANCHOR: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""When the first window begins; what is stored before was updated in the year before."""

GRID: Final = WindowGrid.of(ANCHOR, 600, 120)
"""The windows that the changes after `ANCHOR` lie in."""

CHANGES: Final = 100
"""Changes in each window of `GRID`, where nothing else is said."""

CHANGED_WINDOWS: Final = 450
"""Windows of `GRID` that have changes: three days of them, and some more."""

_BEFORE: Final = ticks_of(ANCHOR) - 365 * 86_400 * TICKS_PER_SECOND
_QUIET: Final = 3600 * TICKS_PER_SECOND
"""Nothing was updated in the hour before `ANCHOR`, so that no window's overlap holds more of a larger world."""

_TEMPLATES: Final = 2000
_SEED: Final = 2026
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0
_LINK: Final = "http://localhost/v1.0/referrals?$skiptoken="
_ROW: Final = (
    b'{"id":"%08x-%04x-4%03x-8000-%012x","eTag":"\\"%08x-0000-0000-0000-%08x0000\\"","updatedDateTime":"%s",%s'
)
_BOUND: Final = re.compile(r"updatedDateTime (ge|lt) (\S+)")


@dataclass(frozen=True, slots=True)
class Referrals:
    """`count` referrals updated before `ANCHOR`, and after it `changes` of them updated in `CHANGED_WINDOWS` windows.

    Row `number` is number `number` by `updatedDateTime`; rows from `count` on are the changes. With `companies`, the
    customers are that many companies, whose names and domains differ; without, those of the templates.
    """

    count: int
    changes: int = CHANGES
    """Changes in each window of `GRID`."""
    companies: int = 0

    def ticks(self, number: int) -> int:
        """When it was updated; no two rows share an instant."""
        if number < self.count:
            return _BEFORE + (ticks_of(ANCHOR) - _QUIET - _BEFORE) * number // self.count
        return ticks_of(ANCHOR) + GRID.width * (number - self.count) // self.changes

    def first_from(self, ticks: int) -> int:
        """The number of the first row updated at or after an instant."""
        low, high = 0, self.count
        if ticks > ticks_of(ANCHOR) - _QUIET:
            low = self.count
            high = min(low + max(0, ticks - ticks_of(ANCHOR)) * self.changes // GRID.width + 1, self.end)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.ticks(middle) < ticks else (low, middle)
        return low

    @property
    def end(self) -> int:
        """The number behind the last row's."""
        return self.count + CHANGED_WINDOWS * self.changes

    def referral(self, number: int) -> int:
        """Which referral a row is about: the changes come to referrals from all over the year."""
        return number if number < self.count else (number - self.count) * 7919 % self.count


def _templates() -> list[bytes]:
    """The world's payloads from behind the three fields that each row has of its own; then the same with another deal.

    A changed referral has another deal value, so that its lead and its company change, too.
    """
    world = World(_SEED, ANCHOR, _TEMPLATES)
    own = ("id", "eTag", "updatedDateTime")
    rows = [{key: value for key, value in row.items() if key not in own} for row in world.all()]
    changed = [{**row, "details": {**(row.get("details") or {}), "dealValue": 123_456_789.25}} for row in rows]
    return [orjson.dumps(row)[1:] for row in (*rows, *changed)]


_CUSTOMER: Final = (
    '"customerProfile":{"name":"%s %s %d A.Ş.","address":{"addressLine1":"1 Örnek Cd.","addressLine2":"",'
    '"city":"Kayseri","state":"","postalCode":"38000","country":"TR","region":null},"size":"51to250employees",'
    '"team":[{"contactPreference":{"locale":"tr-tr","disableNotifications":false},"firstName":"Fatma",'
    '"lastName":"Aydın","phoneNumber":"+90 352 000 00 00","email":"fatma.aydin@%s%d.com.tr"}],"ids":[]},"consent":'
)
_WORDS: Final = (
    "çelik", "kimya", "deniz", "gıda", "yazılım", "tekstil", "mobilya", "lojistik", "enerji", "tarım", "makine", "cam",
    "kağıt", "turizm", "sağlık", "inşaat", "demir", "bakır", "seramik", "plastik", "elektrik", "nakliye", "otomotiv",
)  # fmt: skip
_PROFILE: Final = re.compile(rb'"customerProfile":.*?,"consent":')


def customer(number: int) -> bytes:
    """The part of a payload that says who the customer is, of company `number`."""
    first, second = _WORDS[number % len(_WORDS)], _WORDS[number // len(_WORDS) % len(_WORDS)]
    return (_CUSTOMER % (first.title(), second.title(), number, "firma", number)).encode()


class _Server:
    """The application that uvicorn runs."""

    def __init__(self, referrals: Referrals) -> None:
        self._referrals = referrals
        self._templates = _templates()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            body = self.page(scope["query_string"].decode())
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    def page(self, query: str) -> bytes:
        """The answer to a list request."""
        options = {name: values[0] for name, values in parse_qs(query).items()}
        if "$skiptoken" in options:
            low, high, top, descending = map(int, options["$skiptoken"].split("."))
        else:
            bounds = {operator: parse_ticks(text) for operator, text in _BOUND.findall(options.get("$filter", ""))}
            low = self._referrals.first_from(bounds["ge"]) if "ge" in bounds else 0
            high = self._referrals.first_from(bounds["lt"]) if "lt" in bounds else self._referrals.end
            top, skipped = int(options["$top"]), int(options.get("$skip", 0))
            descending = int(options["$orderby"].endswith("desc"))
            low, high = (low, max(high - skipped, low)) if descending else (min(low + skipped, high), high)
        if descending:
            middle = max(high - top, low)
            numbers, high = range(high - 1, middle - 1, -1), middle
        else:
            middle = min(low + top, high)
            numbers, low = range(low, middle), middle
        link = f',"@odata.nextLink":"{_LINK}{low}.{high}.{top}.{descending}"' if low < high else ""
        rows = b",".join(map(self._row, numbers))
        return b'{"@odata.count":%d,"value":[%s]%s}' % (len(numbers), rows, link.encode())

    def _row(self, number: int) -> bytes:
        referral, ticks = self._referrals.referral(number), self._referrals.ticks(number)
        changed = number >= self._referrals.count
        # Ids are spread as random ones are: an index on them is written to all over.
        spread = referral * 0x9E3779B97F4A7C15 % (1 << 64)
        rest = self._templates[referral % _TEMPLATES + changed * _TEMPLATES]
        if self._referrals.companies:
            profile = customer(referral * 7919 % self._referrals.companies)
            rest = _PROFILE.sub(lambda _: profile, rest, count=1)
        return _ROW % (
            spread >> 32, spread >> 16 & 0xFFFF, spread & 0xFFF, referral, number, ticks // TICKS_PER_SECOND,
            render_ticks(ticks).encode(), rest,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens, and the file of the authority that vouches for it."""

    base_url: str
    ca_bundle: Path


def _serve(referrals: Referrals, pem: Path, connection: Connection) -> None:
    with socket.create_server((_HOST, 0), backlog=64) as listener:
        config = uvicorn.Config(
            _Server(referrals), ssl_certfile=pem, lifespan="off", access_log=False, log_level="error"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        connection.send(listener.getsockname()[1])
        # Ends with the other end of the pipe, and so with the process that started this one.
        connection.poll(None)
        server.should_exit = True
        thread.join()


@contextmanager
def served_elsewhere(count: int, folder: Path, changes: int = CHANGES, companies: int = 0) -> Iterator[Address]:
    """A server of `Referrals(count, changes, companies)` in a process of its own; its certificate is in `folder`.

    Raises TimeoutError when it does not start.
    """
    authority = trustme.CA()
    bundle, pem = folder / "ca.pem", folder / "server.pem"
    authority.cert_pem.write_to_path(bundle)
    authority.issue_cert("localhost", _HOST).private_key_and_cert_chain_pem.write_to_path(pem)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(Referrals(count, changes, companies), pem, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise TimeoutError(f"the page server's process did not start within {_START_SECONDS:g} s")
        yield Address(f"https://localhost:{ours.recv()}", bundle)
    finally:
        ours.close()
        process.join()
