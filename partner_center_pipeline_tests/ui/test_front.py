"""The running UI behind its front: who gets in, and that pages of another origin in Chromium change nothing."""

import http.server
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Request, WebSocket
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from partner_center_pipeline.cli.base import codes_folder
from partner_center_pipeline_tests.chromium import chromium
from partner_center_pipeline_tests.cli.commands import free_port, run, running
from partner_center_pipeline_tests.cli.test_browser import browser_program
from partner_center_pipeline_tests.ui.running import (
    LOCATION,
    REPOSITORY,
    START_SECONDS,
    STOP_SECONDS,
    Ui,
    _processes_in,
    another_link,
    running_ui,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("front")]

STOPS_THE_SYNC = 'mutation{setConcurrencyLimit(concurrencyKey:"partner_center_api",limit:0)}'
LIMIT = '{ instance { concurrencyLimit(concurrencyKey: "partner_center_api") { slotCount } } }'
SUBSCRIPTION = "subscription { locationStateChangeEvents { event { eventType } } }"
EVERYWHERE = "0.0.0.0"  # noqa: S104  with a password
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, storage: Callable[[Path], Mapping[str, str]]) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("front") / "home"
        home.mkdir()
        patch.setenv("HUNTER_HOME", str(home))
        for name, value in storage(home).items():
            patch.setenv(name, value)
        yield home


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[Ui]:
    with running_ui(folder) as running:
        yield running


@pytest.fixture
def nothing_changes(ui: Ui) -> Iterator[None]:
    """The limit is 1 before the test and after it; the mutation itself would work."""
    set_limit(ui, 1)
    yield
    assert limit(ui) == 1


def limit(ui: Ui) -> int:
    """The slots of the pool of what asks Partner Center."""
    return int(ui.ask(LIMIT)["instance"]["concurrencyLimit"]["slotCount"])


def set_limit(ui: Ui, slots: int) -> None:
    ui.ask(STOPS_THE_SYNC.replace("limit:0", f"limit:{slots}"))


def test_the_mutation_of_these_tests_does_what_they_want_to_see_refused(ui: Ui) -> None:
    set_limit(ui, 0)
    assert limit(ui) == 0
    set_limit(ui, 1)
    assert limit(ui) == 1


@pytest.mark.usefixtures("nothing_changes")
def test_without_a_session_nothing_is_shown_and_nothing_changed(ui: Ui) -> None:
    with httpx.Client(base_url=ui.url, trust_env=False, headers={"Origin": ui.url}) as stranger:
        for path in ("/", "/runs", "/graphql", "/server_info", "/logs/x.out"):
            assert stranger.get(path).status_code == 401, path
        asked = {"query": STOPS_THE_SYNC}
        assert stranger.post("/graphql", json=asked).status_code == 401
        assert stranger.post("/graphql", json=asked, headers={"Authorization": "Bearer x"}).status_code == 401
        assert "partner-center ui --link" in stranger.get("/").text
        assert stranger.get("/sign-in?code=guessed").status_code == 403


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(("refused", "ask"), [
    (405, lambda asked: asked.get("/graphql", params={"query": STOPS_THE_SYNC})),
    (415, lambda asked: asked.post("/graphql", params={"query": STOPS_THE_SYNC})),
    (415, lambda asked: asked.post("/graphql", content=json.dumps({"query": STOPS_THE_SYNC}),
                                   headers={"Content-Type": "text/plain; application/json"})),
    (403, lambda asked: asked.post("/graphql", json={"query": STOPS_THE_SYNC}, headers={"Origin": "http://127.0.0.1:1"})),
    (403, lambda asked: asked.post("/graphql", json={"query": STOPS_THE_SYNC}, headers={"Origin": "null"})),
    (421, lambda asked: asked.post("/graphql", json={"query": STOPS_THE_SYNC}, headers={"Host": "evil.example"})),
    (405, lambda asked: asked.options("/graphql", headers={"Access-Control-Request-Method": "POST"})),
])  # fmt: skip
def test_with_a_session_a_mutation_is_taken_only_from_the_uis_own_page(
    refused: int, ask: Callable[[httpx.Client], httpx.Response], ui: Ui
) -> None:
    answer = ask(ui.browser)
    assert answer.status_code == refused
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.usefixtures("nothing_changes")
def test_with_a_cookie_and_without_an_origin_nothing_is_changed(ui: Ui) -> None:
    with httpx.Client(base_url=ui.url, trust_env=False, cookies=ui.browser.cookies) as other:
        assert other.get("/server_info").status_code == 200
        assert other.post("/graphql", json={"query": STOPS_THE_SYNC}).status_code == 403


def test_a_link_signs_in_once_and_the_cookie_is_strict_and_out_of_reach_of_scripts(ui: Ui, folder: Path) -> None:
    link = another_link(folder).strip()
    first = httpx.get(link, trust_env=False)
    assert first.status_code == 200
    assert "HttpOnly" in first.headers["set-cookie"]
    assert "SameSite=strict" in first.headers["set-cookie"]
    second = httpx.get(link, trust_env=False)
    assert second.status_code == 403
    assert "set-cookie" not in second.headers
    assert "This link was used already" in second.text
    assert ui.browser.get(link).headers["location"] == "/"


@contextmanager
def subscribed(ui: Ui, origin: str | None, cookie: str) -> Iterator[ClientConnection]:
    """A websocket as Dagster's pages open it."""
    address = ui.url.replace("http", "ws") + "/graphql"
    with connect(
        address,
        origin=None if origin is None else Origin(origin),
        additional_headers={"Cookie": cookie} if cookie else {},
        subprotocols=[Subprotocol("graphql-ws")],
        proxy=None,
    ) as socket:
        yield socket


def cookie_of(ui: Ui) -> str:
    return "; ".join(f"{name}={value}" for name, value in ui.browser.cookies.items())


@pytest.mark.usefixtures("nothing_changes")
def test_websockets_work_through_the_front_and_take_no_mutation(ui: Ui) -> None:
    assert ui.is_loaded()
    with subscribed(ui, ui.url, cookie_of(ui)) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(socket.recv(10)) == {"type": "connection_ack"}
        socket.send(json.dumps({"type": "start", "id": "1", "payload": {"query": STOPS_THE_SYNC}}))
        assert json.loads(socket.recv(10))["type"] == "error"
        run_id = "00000000-0000-4000-8000-000000000000"
        query = f'subscription {{ pipelineRunLogs(runId: "{run_id}") {{ __typename }} }}'
        socket.send(json.dumps({"type": "start", "id": "2", "payload": {"query": query}}))
        said = json.loads(socket.recv(10))
        assert said["id"] == "2"
        assert said["payload"]["data"]["pipelineRunLogs"]["__typename"] == "PipelineRunLogsSubscriptionFailure"


def test_a_websocket_needs_the_session_and_the_uis_own_origin(ui: Ui) -> None:
    cookie = cookie_of(ui)
    for origin, brought in [(ui.url, ""), ("http://127.0.0.1:1", cookie), ("null", cookie), (None, cookie)]:
        with pytest.raises(InvalidStatus) as refused, subscribed(ui, origin, brought):
            pass
        assert refused.value.response.status_code == 403


def listening(home: Path) -> set[int]:
    """The TCP ports on which the processes of this home folder listen."""
    inodes = set()
    for pid in _processes_in(home):
        for file in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(str(file.readlink()).removeprefix("socket:[").rstrip("]"))
            except OSError:
                continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A" and line[9] in inodes}


def status(folder: Path, code: int) -> dict[str, str]:
    """The grades that `partner-center status` gives while the flag is on."""
    done = run(folder, "status", "--json", HUNTER_PARTNER_CENTER_ENABLED="true")
    assert done.returncode == code
    return {item["subject"]: item["grade"] for item in json.loads(done.stdout)["items"]}


def test_what_is_stopped_in_the_ui_is_wrong_in_status(ui: Ui, folder: Path) -> None:
    found = status(folder, 1)  # nothing was synced yet
    assert found["pools"] == found["schedules and sensors"] == found["daemon"] == "ok"
    set_limit(ui, 0)
    selector = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
    state = ui.ask(
        "query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) { ... on Schedule {"
        " scheduleState { id } } } }",
        s={**selector, "scheduleName": "partner_center_sync_schedule"},
    )["scheduleOrError"]["scheduleState"]["id"]
    stopped = ui.ask("mutation($id: String!) { stopRunningSchedule(id: $id) { __typename } }", id=state)
    assert stopped["stopRunningSchedule"]["__typename"] == "ScheduleStateResult"
    found = status(folder, 2)
    assert found["pools"] == found["schedules and sensors"] == "wrong"
    set_limit(ui, 1)


def test_no_port_but_that_of_the_front_is_open(ui: Ui, folder: Path) -> None:
    assert listening(folder) == {int(ui.url.rpartition(":")[2])}


# A browser


@pytest.fixture(scope="module")
def page(ui: Ui) -> Iterator[Page]:
    """A page of Chromium that opened the printed link."""
    with chromium() as browser:
        page = browser.new_context().new_page()
        page.goto(another_link(ui.home).strip())
        yield page


def test_the_printed_link_just_works(page: Page, ui: Ui) -> None:
    page.wait_for_url(f"{ui.url}/**")
    page.get_by_role("link", name="Catalog").first.wait_for(timeout=60_000)
    assert "code=" not in page.url
    assert page.evaluate("document.cookie") == ""


@contextmanager
def site(body: str) -> Iterator[int]:
    """A web server with one page; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name of the base class
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def addresses_asked(page: Page) -> list[str]:
    """A list that grows with each address that the page asks, also where the browser then shows it no answer."""
    asked: list[str] = []

    def note(one: Request | WebSocket) -> None:
        asked.append(one.url)

    page.on("request", note)
    page.on("websocket", note)
    return asked


HOSTILE = {
    "img": "<img id=x src='{graphql}?query={query}' onerror='done()' onload='done()'>",
    "form, GET": "<form id=f action='{graphql}'><input name=query value='{query}'></form><script>f.submit()</script>",
    "form, POST": "<form id=f method=post enctype=text/plain action='{graphql}'><input name='{left}' value='{right}'>"
    "</form><script>f.submit()</script>",
    "fetch, text": "<script>fetch('{graphql}', {{method: 'POST', mode: 'no-cors', credentials: 'include', "
    "headers: {{'Content-Type': 'text/plain; application/json'}}, body: `{json}`}}).finally(done)</script>",
    "fetch, JSON": "<script>fetch('{graphql}', {{method: 'POST', credentials: 'include', "
    "headers: {{'Content-Type': 'application/json'}}, body: `{json}`}}).finally(done)</script>",
    "fetch, GET": "<script>fetch('{graphql}?query={query}', {{mode: 'no-cors', credentials: 'include'}}).finally(done)"
    "</script>",
    "frame": "<iframe src='{graphql}?query={query}' onload='done()'></iframe>",
    "websocket": "<script>s = new WebSocket('{ws}', 'graphql-ws'); s.onerror = s.onclose = done;</script>",
}  # fmt: skip


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_pages_of_another_origin_change_nothing_in_the_browser_that_is_signed_in(host: str, ui: Ui, page: Page) -> None:
    asked = json.dumps({"query": STOPS_THE_SYNC})
    answers: list[int] = []
    for name, body in HOSTILE.items():
        filled = body.format(
            graphql=f"{ui.url}/graphql",
            query=STOPS_THE_SYNC.replace('"', "%22" if "?query" in body else "&quot;"),
            left='{"query": ' + json.dumps(STOPS_THE_SYNC).replace("'", "&#39;") + ', "x": "',
            right='"}',
            json=asked.replace("\\", "\\\\"),
            ws=ui.url.replace("http", "ws") + "/graphql",
        )
        script = "<script>isDone = false; done = () => isDone = true</script>"
        other = page.context.new_page()
        tries = addresses_asked(other)
        other.on("response", lambda answer: answers.append(answer.status) if ui.url in answer.url else None)
        with site(script + filled) as port:
            other.goto(f"http://{host}:{port}/")
            if name.startswith("form"):
                other.wait_for_url(f"{ui.url}/graphql**")
            else:
                other.wait_for_function("isDone")
            other.close()
        assert limit(ui) == 1, name
        assert [address for address in tries if "/graphql" in address], f"{name}: the page tried nothing"
    assert not [status for status in answers if status < 400]


# Read-only, and open to other machines


def test_open_to_other_machines_the_password_lets_in_read_only_and_all_ends_with_the_daemon(
    stored_home: Path,
) -> None:
    home, number = stored_home, free_port()
    (home / ".env").write_text(f"HUNTER_UI_PASSWORD='{PASSWORD}'\n")
    options = [
        "--host",
        EVERYWHERE,
        "--allow-remote",
        "--name",
        "crm.example.com",
        "--read-only",
        "--open",
        "--port",
        str(number),
    ]
    program, opened = browser_program(home)
    with (
        (home / "log").open("w") as log,
        running(home, log, "ui", *options, is_script=True, BROWSER=str(program)) as process,
    ):
        remote = Ui(f"http://127.0.0.1:{number}", home, home / "log")
        wait_until("the UI", remote.is_loaded, START_SECONDS)
        assert opened.read_text() == remote.link()
        the_password_lets_in_and_nothing_is_changed(remote)
        (daemon,) = [
            pid for pid in _processes_in(home) if b"dagster-daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(daemon, signal.SIGKILL)
        assert process.wait(STOP_SECONDS) == 1
    assert "Dagster's daemon ended by itself" in (home / "log").read_text()
    assert not codes_folder().exists(), "a link outlives its UI"
    wait_until("the end of every process", lambda: None if _processes_in(home) else True, 30)


def the_password_lets_in_and_nothing_is_changed(remote: Ui) -> None:
    port = remote.url.rpartition(":")[2]
    address = f"http://{socket.gethostbyname(socket.gethostname())}:{port}"
    with httpx.Client(base_url=address, trust_env=False, headers={"Authorization": f"Bearer {PASSWORD}"}) as program:
        for host in (f"crm.example.com:{port}", f"{socket.gethostname()}:{port}", f"10.1.2.3:{port}"):
            assert program.get("/server_info", headers={"Host": host}).status_code == 200
        assert program.get("/server_info", headers={"Host": "evil.example"}).status_code == 421
        refused = program.post("/graphql", json={"query": STOPS_THE_SYNC}).json()
        assert "errors" in refused
        assert program.post("/graphql", json={"query": "{ version }"}).json()["data"]["version"]

    origin = f"http://crm.example.com:{port}"
    headers = {"Host": f"crm.example.com:{port}", "Origin": origin}
    with httpx.Client(base_url=remote.url, trust_env=False, headers=headers) as browser:
        assert "HUNTER_UI_PASSWORD" in browser.get("/").text
        assert browser.post("/sign-in", data={"password": "wrong"}).status_code == 403
        assert browser.post("/sign-in", data={"password": PASSWORD}, headers={"Origin": "http://x"}).status_code == 403
        signed_in = browser.post("/sign-in", data={"password": PASSWORD})
        assert signed_in.status_code == 200
        cookie = {"Cookie": signed_in.headers["set-cookie"].partition(";")[0]}
        assert browser.get("/server_info", headers=cookie).status_code == 200

    statuses = [
        httpx.get(f"{remote.url}/server_info", trust_env=False, headers={"Authorization": f"Bearer {n}"}).status_code
        for n in range(12)
    ]
    assert statuses[-1] == 429
