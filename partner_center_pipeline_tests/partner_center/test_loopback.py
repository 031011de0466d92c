"""What the listener for the browser's answer lets in."""

import socket

import httpx
import pytest

from partner_center_pipeline.partner_center.loopback import Loopback

STATE = "the-state-of-this-sign-in"


def post(listener: Loopback, **fields: str) -> httpx.Response:
    return httpx.post(listener.redirect_uri, data=fields, trust_env=False)


def test_the_answer_of_this_sign_in_is_returned_and_the_person_may_close_the_window() -> None:
    with Loopback(STATE) as listener:
        shown = post(listener, code="a-code", state=STATE)
        assert "You can close this window" in shown.text
        assert "a-code" not in shown.text
        assert listener.answer(5) == {"code": "a-code", "state": STATE}


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "forged"},
        {"code": "forged", "state": "another"},
        {"code": "forged", "state": "ş"},
        {"state": STATE},
        {},
    ],
    ids=["no state", "wrong state", "not ASCII", "no code", "empty"],
)
def test_what_does_not_belong_to_this_sign_in_is_refused_and_waiting_goes_on(fields: dict[str, str]) -> None:
    with Loopback(STATE) as listener:
        assert post(listener, **fields).status_code == 400
        assert listener.answer(0) is None
        post(listener, error="access_denied", state=STATE)
        assert listener.answer(5) == {"error": "access_denied", "state": STATE}


def test_a_code_in_an_address_is_not_taken_because_addresses_stay_in_histories() -> None:
    with Loopback(STATE) as listener:
        assert httpx.get(f"{listener.redirect_uri}/?code=a&state={STATE}", trust_env=False).status_code == 404
        assert listener.answer(0) is None


@pytest.mark.parametrize("length", ["1000000", "-1", "many"])
def test_an_answer_too_long_to_be_one_is_not_read(length: str) -> None:
    with Loopback(STATE) as listener, socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
        connection.sendall(f"POST / HTTP/1.0\r\nContent-Length: {length}\r\n\r\n".encode())
        assert b"400" in connection.recv(100)


def test_a_connection_that_says_nothing_holds_nobody_up() -> None:
    with Loopback(STATE) as listener, socket.create_connection(("127.0.0.1", listener.port), 5):
        post(listener, code="a-code", state=STATE)
        assert listener.answer(5) is not None


def test_a_browser_that_does_not_wait_for_the_page_signs_in_as_well_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    body = f"code=a-code&state={STATE}"
    request = f"POST / HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    with Loopback(STATE) as listener:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", listener.port), 5) as connection:
                connection.sendall(request)
            assert listener.answer(5) == {"code": "a-code", "state": STATE}
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_loopback_only_and_no_longer_than_needed() -> None:
    with Loopback(STATE) as listener:
        port = listener.port
        socket.create_connection(("127.0.0.1", port), 5).close()
        with pytest.raises(ConnectionRefusedError):  # a listener on every interface would take this
            socket.create_connection(("127.0.0.2", port), 5)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
