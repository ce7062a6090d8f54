"""The recorders' HTTP connection."""

import socket
import threading
from http.client import HTTPException

import pytest
from observe_fakes import serving

from harness.observe._http import UNREACHABLE, BadStatus, Endpoint, Line, say


def test_a_connection_is_kept_and_used_again() -> None:
    with serving() as server:
        server.answers["/a"] = {"x": 1}
        line = Line(Endpoint(server.url))
        assert line.get_json("/a") == {"x": 1}
        first = line._http.sock if line._http else None
        assert line.get_json("/a") == {"x": 1}
        assert line._http is not None
        assert line._http.sock is first
        line.close()


def test_a_path_in_the_url_comes_before_every_path() -> None:
    with serving() as server:
        server.answers["/base/a"] = b"yes"
        line = Line(Endpoint(f"{server.url}/base/"))
        assert line.get("/a") == b"yes"
        line.close()


def test_a_bad_status_says_what_the_server_said() -> None:
    with serving() as server:
        server.answers["/a"], server.status["/a"] = b"overloaded", 503
        line = Line(Endpoint(server.url))
        with pytest.raises(BadStatus, match="status 503: overloaded"):
            line.get("/a")
        line.close()


def test_what_is_not_json_is_a_broken_answer() -> None:
    with serving() as server:
        server.answers["/a"] = b"<html>"
        line = Line(Endpoint(server.url))
        with pytest.raises(HTTPException, match="not JSON"):
            line.get_json("/a")
        line.close()


def test_nobody_there_is_an_expected_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UNREACHABLE) as caught:
        Line(Endpoint(f"http://127.0.0.1:{port}")).get("/")
    assert "ConnectionRefusedError" in say(caught.value)


def test_an_idle_connection_that_the_server_closed_is_opened_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

        def answer_twice() -> None:
            for _ in range(2):
                peer, _address = listener.accept()
                with peer:
                    peer.recv(4096)
                    peer.sendall(reply)

        server = threading.Thread(target=answer_twice)
        server.start()
        line = Line(Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        assert line.get("/") == b"ok"
        assert line.get("/") == b"ok"
        line.close()
        server.join()


def test_a_silent_server_is_given_up_after_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line(Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.05))
        with pytest.raises(TimeoutError):
            line.get("/")
