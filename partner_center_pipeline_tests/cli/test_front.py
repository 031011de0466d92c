"""The rules of what stands before Dagster's webserver. What it holds off in a running UI is in `ui.test_front`."""

from http import HTTPStatus
from pathlib import Path

import pytest

from partner_center_pipeline.cli.front import Asked, Hosts, SignIn, new_code, refusal, use_code
from partner_center_pipeline_tests.cli.conftest import Home

HERE = Hosts()
OPEN = Hosts(frozenset({"crm.example.com"}), is_remote=True)
HOST = "127.0.0.1:3000"
EVERYWHERE = "0.0.0.0"  # noqa: S104  refused


def scope(
    method: str = "GET", path: str = "/", query: str = "", host: str | None = HOST, **headers: str
) -> dict[str, object]:
    """The ASGI scope of a request; `sec_fetch_site` stands for the header Sec-Fetch-Site."""
    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    if host is not None:
        given.append((b"host", host.encode()))
    kind = {"type": "websocket"} if method == "WEBSOCKET" else {"type": "http", "method": method}
    return {**kind, "path": path, "query_string": query.encode(), "headers": given}


def status(hosts: Hosts = HERE, **said: str | None) -> int:
    """With which status a request is refused; 0 when it goes on to the question who asks."""
    refused = refusal(Asked.of(scope(**said)), hosts)  # type: ignore[arg-type]
    return 0 if refused is None else refused[0]


@pytest.mark.parametrize(("host", "hosts", "allowed"), [
    ("127.0.0.1:3000", HERE, True), ("localhost:8080", HERE, True), ("[::1]:3000", HERE, True),
    ("127.9.9.9", HERE, True), ("LOCALHOST", HERE, True),
    ("evil.example", HERE, False), ("localhost.evil.example", HERE, False), ("10.0.0.5:3000", HERE, False),
    ("crm.example.com", HERE, False), ("", HERE, False), ("user@localhost", HERE, False), ("[::1", HERE, False),
    ("localhost/evil", HERE, False), ("0x7f.1", HERE, False),
    ("10.0.0.5:3000", OPEN, True), ("crm.example.com:443", OPEN, True), ("[fe80::1]", OPEN, True),
    ("evil.example:3000", OPEN, False),
])  # fmt: skip
def test_only_the_uis_own_names_are_answered(host: str, hosts: Hosts, allowed: bool) -> None:
    assert (status(hosts, host=host) == 0) is allowed


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    assert status(host=None) == HTTPStatus.MISDIRECTED_REQUEST
    two = scope()
    two["headers"] = [(b"host", b"127.0.0.1:3000"), (b"host", b"evil.example")]
    assert refusal(Asked.of(two), HERE) is not None


@pytest.mark.parametrize(("origin", "host", "allowed"), [
    ("http://127.0.0.1:3000", HOST, True), ("https://127.0.0.1:3000", HOST, True),
    ("https://crm.example.com", "crm.example.com", True),
    ("http://127.0.0.1:8888", HOST, False), ("http://localhost:3000", HOST, False), ("null", HOST, False),
    ("https://evil.example", HOST, False), ("http://127.0.0.1:3000.evil.example", HOST, False), ("", HOST, False),
])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "WEBSOCKET"])
def test_pages_of_another_origin_are_refused_also_of_another_port(
    method: str, origin: str, host: str, allowed: bool
) -> None:
    said = status(OPEN, method=method, host=host, origin=origin, content_type="application/json")
    assert (said == 0) is allowed


@pytest.mark.parametrize(("site", "mode", "dest", "allowed"), [
    ("same-origin", "cors", "empty", True), ("none", "navigate", "document", True),
    ("cross-site", "navigate", "document", True),  # a link; without the cookie, which is strict
    ("same-site", "no-cors", "image", False), ("cross-site", "no-cors", "image", False),
    ("same-site", "navigate", "iframe", False), ("cross-site", "cors", "empty", False),
])  # fmt: skip
def test_what_a_page_of_another_origin_embeds_is_refused(site: str, mode: str, dest: str, allowed: bool) -> None:
    said = status(sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=dest)
    assert (said == 0) is allowed


@pytest.mark.parametrize(("method", "path", "query", "content_type", "expected"), [
    ("GET", "/graphql", "", "", 0),  # the playground's page
    ("GET", "/graphql", "query=mutation{x}", "", 405), ("HEAD", "/graphql", "query={version}", "", 405),
    ("GET", "/graphql/", "query=%7Bversion%7D", "", 405), ("GET", "/graphql", "query", "", 405),
    ("GET", "/runs", "query=x", "", 0),
    ("POST", "/graphql", "", "application/json", 0), ("POST", "/graphql", "", "Application/JSON; charset=utf-8", 0),
    ("POST", "/graphql", "", "text/plain; application/json", 415), ("POST", "/graphql", "", "application/graphql", 415),
    ("POST", "/graphql", "query=mutation{x}", "", 415),
    ("POST", "/graphql", "", "application/x-www-form-urlencoded", 415),
    ("POST", "/report_asset_materialization/x", "", "multipart/form-data", 415),
    ("POST", "/sign-in", "", "application/x-www-form-urlencoded", 0), ("POST", "/sign-in", "", "text/plain", 415),
    ("OPTIONS", "/graphql", "", "", 405), ("PUT", "/graphql", "", "application/json", 405),
])  # fmt: skip
def test_what_changes_something_is_taken_as_json_by_post_only(
    method: str, path: str, query: str, content_type: str, expected: int
) -> None:
    assert status(method=method, path=path, query=query, content_type=content_type) == expected


def test_a_code_is_good_once_and_for_a_day(tmp_path: Path) -> None:
    folder = tmp_path / "codes"
    code = new_code(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert code not in "".join(file.name for file in folder.iterdir())
    assert not use_code(folder, code + "x")
    assert not use_code(folder, "../codes")
    assert use_code(folder, code)
    assert not use_code(folder, code)
    old = new_code(folder)
    made = max(file.stat().st_mtime for file in folder.iterdir())
    assert not use_code(folder, old, lambda: made + 24 * 3600)


def test_a_session_ends_and_ten_wrong_passwords_lock_the_right_one_out_for_a_minute(tmp_path: Path) -> None:
    now = [1000.0]
    sign_in = SignIn(tmp_path, "correct horse battery", "ui", lambda: now[0])
    session = sign_in.begin()
    assert sign_in.has_session({"ui": session})
    assert not sign_in.has_session({"ui": session + "x"})
    assert not sign_in.has_session({})
    now[0] += 31 * 24 * 3600
    assert not sign_in.has_session({"ui": session})
    assert sign_in.is_password("correct horse battery")
    assert not any(sign_in.is_password(f"guess {number}") for number in range(10))
    assert not sign_in.is_password("correct horse battery")
    now[0] += 61
    assert sign_in.is_password("correct horse battery")
    assert not SignIn(tmp_path, None, "ui").is_password("")


@pytest.mark.parametrize(("arguments", "password", "words"), [
    (["--host", EVERYWHERE], "", "other machines would reach the UI on 0.0.0.0. To let them, set HUNTER_UI_PASSWORD"),
    (["--host", "::"], "long enough to be one", "add --allow-remote"),
    (["--host", EVERYWHERE, "--allow-remote"], "", "--allow-remote needs a password: set HUNTER_UI_PASSWORD"),
    (["--host", EVERYWHERE, "--allow-remote"], "short", "HUNTER_UI_PASSWORD"),
    (["--link"], "", "no `partner-center ui` runs on the home folder"),
])  # fmt: skip
def test_it_is_not_opened_to_other_machines_unprotected(
    arguments: list[str], password: str, words: str, home: Path
) -> None:
    place = Home(home)
    place.edit_env(HUNTER_UI_PASSWORD=password)
    done = place.invoke("ui", *arguments)
    assert done.exit_code == 1
    assert words in done.stderr
    assert "short" not in done.stderr
