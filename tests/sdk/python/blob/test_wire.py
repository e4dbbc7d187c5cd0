"""Requests that no client sends: malformed, too large or endless. Each is rejected, and other requests are served meanwhile."""

import socket
from urllib.parse import urlsplit

import pytest


@pytest.fixture(params=["batch", "blob"])
def door(request, connection):
    parts = urlsplit(connection[request.param]["endpoint"])
    return parts.hostname, parts.port


def talk(door, request, seconds=10, all=False):
    """Returns the response; with `all`, everything until the service closes the connection or sends nothing for this many seconds."""
    with socket.create_connection(door, seconds) as wire:
        try:
            wire.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass
        said = b""
        try:
            while part := wire.recv(65_536):
                said += part
                if not all and b"\r\n\r\n" in said and b"transfer-encoding" not in said.lower():
                    head, _, body = said.partition(b"\r\n\r\n")
                    length = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
                    if length and len(body) >= int(length[0]):
                        break
        except (TimeoutError, ConnectionResetError):
            pass
    return said


def statuses(said):
    # A response may begin directly after the body of the previous one.
    return [int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:]]


def lives(door):
    """Returns whether an ordinary request (without a signature) gets its usual response."""
    return statuses(talk(door, b"GET /x/y/z HTTP/1.1\r\nHost: h\r\n\r\n"))[0] in (400, 401, 403, 404)


MALFORMED = {
    "two-lengths": b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length-and-chunked": b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-twice": b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "a-length-that-is-none": b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
    "a-length-beyond-all": b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    "a-header-with-a-space": b"GET / HTTP/1.1\r\nHost : h\r\n\r\n",
    "a-folded-header": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "a-null-in-a-header": b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "a-null-in-the-target": b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
    "no-http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50,
    "another-version": b"GET / HTTP/3.7\r\nHost: h\r\n\r\n",
    "a-bad-chunk": b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a-long-target": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "a-long-header": b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many-headers": b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: a\r\n" * 2_000 + b"\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_refused_and_nothing_of_it_is_taken_for_another_request(door, name):
    said = statuses(talk(door, MALFORMED[name], 1, all=True))
    assert len(said) <= 1 and all(400 <= status < 500 for status in said), said
    assert lives(door)


def test_what_follows_a_refused_request_is_not_taken_for_one(door):
    inner = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    for framing in (b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Content-Length: 0\r\nContent-Length: 36"):
        said = talk(door, b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\n" + framing + b"\r\n\r\n0\r\n\r\n" + inner, 1, all=True)
        assert len(statuses(said)) <= 1, said


def test_requests_that_are_well_formed_are_answered_one_by_one(door):
    """The checks of the cases above would detect a second response."""
    one = b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    said = statuses(talk(door, one + b"GET /x/y/z HTTP/1.1\r\nHost: h\r\n\r\n", 1, all=True))
    assert len(said) == 2, said


def test_idle_and_slow_connections_keep_nobody_out(door):
    slow = []
    try:
        for _ in range(200):
            wire = socket.create_connection(door, 5)
            wire.sendall(b"GET / HTTP/1.1\r\nHo")
            slow.append(wire)
        assert lives(door)
    finally:
        for wire in slow:
            wire.close()
    assert lives(door)


def test_a_body_that_breaks_off_is_let_go(door):
    with socket.create_connection(door, 5) as wire:
        wire.sendall(b"PUT /local/c/b HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello")
    assert lives(door)
