"""Tests of the proxy: what a service sees and what a client gets, for each kind of damage, against an echo server."""

import asyncio
import collections
import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from proxy import BODIES, DAMAGES, KINDS, REFUSALS, Closed, Message, Plan, Proxy, read_message, refusal

PATIENCE = 20
BODY = b"0123456789" * 20
# Kind: whole requests and torn requests that the service sees; what the client gets.
EXPECTED = {
    "cut-request": (0, 1, "nothing"),
    "cut-head": (1, 0, "half a head"),
    "cut-body": (1, 0, "half a body"),
    "doubled": (2, 0, "whole"),
    "delayed": (1, 0, "whole"),
    "lost-before": (0, 0, "nothing"),
    "lost-after": (1, 0, "nothing"),
    "short-length": (1, 0, "more than announced"),
    "long-length": (1, 0, "less than announced"),
    "shortened": (1, 0, "half, as announced"),
}


class Echo:
    """Answers each request with its own body, and keeps what it saw."""

    def __init__(self):
        self.whole, self.torn, self.writers = [], 0, []

    async def connected(self, reader, writer):
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            try:
                while (request := await read_message(reader)) is not None:
                    self.whole.append(request)
                    body = b"" if request.words[0] == b"DELETE" else request.body or b"echo"
                    response = Message(b"HTTP/1.1 200 OK", [(b"x-path", request.words[1])], body).with_length(len(body))
                    writer.write(response.head() if request.words[0] == b"HEAD" else response.bytes())
                    await writer.drain()
            except Closed:
                self.torn += 1
        writer.close()


async def everything(reader, writer):
    """What arrives until the connection ends; nothing more is sent on it."""
    data = b""
    with contextlib.suppress(ConnectionError):
        writer.write_eof()
        while piece := await asyncio.wait_for(reader.read(65536), PATIENCE):
            data += piece
    writer.close()
    return data


def seen(data, sent):
    """In words, what a client got."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not data:
        return "nothing"
    if not found:
        return "half a head"
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    if body == sent:
        return {True: "whole", length < len(body): "more than announced", length > len(body): "less than announced"}[True]
    assert sent.startswith(body) and len(body) == len(sent) // 2, data
    return "half, as announced" if length == len(body) else "half a body"


async def ask(at, request):
    reader, writer = await asyncio.open_connection(*at)
    writer.write(request.bytes())
    return await everything(reader, writer)


async def with_proxy(plan, work):
    """Runs `work` with an echo server and a proxy before it; returns what the proxy counted."""
    echo = Echo()
    server = await asyncio.start_server(echo.connected, "127.0.0.1", 0)
    proxy = Proxy(plan, delay=0.01)
    at = await proxy.listen("batch", ("127.0.0.1", 0), server.sockets[0].getsockname()[:2])
    await work(at, echo)
    proxy.close()
    server.close()
    return proxy.summary()


def post(path=b"/pools", body=BODY, method=b"POST"):
    headers = [(b"host", b"here:1"), (b"authorization", b"SharedKey a:b")]
    return Message(method + b" " + path + b" HTTP/1.1", headers, body).with_length(len(body))


async def each_damage_does_what_it_says():
    for kind, (whole, torn, expected) in EXPECTED.items():
        async def work(at, echo):
            got = seen(await ask(at, post()), BODY)
            assert got == expected, f"{kind}: {got}"
            assert (len(echo.whole), echo.torn) == (whole, torn), f"{kind}: {len(echo.whole)} whole, {echo.torn} torn"
            for request in echo.whole:
                assert request.bytes() == post().bytes(), f"{kind}: the request was changed"

        summary = await with_proxy(Plan(1, 1.0, [kind]), work)
        assert summary["kinds"] == {kind: 1} and summary["requests"] == 1, summary


async def an_unharmed_request_passes_unchanged():
    async def work(at, echo):
        assert seen(await ask(at, post()), BODY) == "whole"
        assert echo.whole[0].bytes() == post().bytes()

    summary = await with_proxy(Plan(1, 0.0), work)
    assert (summary["passed"], summary["damaged"]) == (1, 0), summary


async def what_has_no_body_is_not_cut():
    for kind in ("cut-body", "shortened", "short-length"):
        async def work(at, echo):
            data = await ask(at, post(method=b"DELETE"))
            assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"\r\n\r\n"), f"{kind}: {data}"

        summary = await with_proxy(Plan(1, 1.0, [kind]), work)
        assert summary["nothing_to_damage"] == 1 and not summary["kinds"], summary


async def a_head_request_gets_no_body_and_a_wrong_length():
    for kind, length in (("short-length", b"2"), ("long-length", b"1004"), ("refused-403-azure", None)):
        async def work(at, echo):
            data = await ask(at, post(method=b"HEAD", body=b""))
            head, _, body = data.partition(b"\r\n\r\n")
            assert body == b"", f"{kind}: {data}"
            assert length is None or b"content-length: " + length in head, f"{kind}: {head}"

        await with_proxy(Plan(1, 1.0, [kind]), work)


async def each_refusal_is_what_its_name_says():
    for kind, (status, form, dated) in REFUSALS.items():
        async def work(at, echo):
            data = await ask(at, post())
            head, _, body = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), f"{kind}: {head}"
            assert (b"\r\ndate: " in head) == dated, f"{kind}: {head}"
            expected, sent = refusal("batch", kind, 1)
            assert body == expected.body[:sent], f"{kind}: {body}"
            assert (len(body) < len(expected.body)) == (form == "halved")
            assert (body == b"") == (form == "empty")
            if form == "azure":
                assert json.loads(body)["code"], body
            assert not echo.whole, f"{kind}: the service saw a refused request"
            assert seen(await ask(at, post()), BODY) == "whole", f"{kind}: the next try was refused again"

        summary = await with_proxy(Plan(1, 1.0, [kind]), work)
        assert summary["kinds"] == {kind: 1} and summary["passed"] == 1, summary


async def a_connection_lives_through_what_does_not_close_it():
    async def work(at, echo):
        reader, writer = await asyncio.open_connection(*at)
        for number in range(4):
            writer.write(post(b"/%d" % number).bytes())
            response = await asyncio.wait_for(read_message(reader, b"POST"), PATIENCE)
            assert response.words[1] in (b"200", b"503")
        writer.close()

    await with_proxy(Plan(1, 1.0, ["doubled", "delayed", "refused-503-azure"]), work)


async def a_service_that_closed_its_connection_is_reached_again():
    async def work(at, echo):
        reader, writer = await asyncio.open_connection(*at)
        for number in range(2):
            writer.write(Message(b"GET /%d HTTP/1.1" % number, [(b"host", b"here")]).bytes())
            assert await asyncio.wait_for(read_message(reader, b"GET"), PATIENCE) is not None
            for kept in echo.writers:
                kept.close()
        writer.close()
        assert len(echo.whole) == 2, echo.whole

    await with_proxy(Plan(1, 0.0), work)


async def a_service_that_is_away_closes_the_connection():
    proxy = Proxy(Plan(1, 0.0))
    at = await proxy.listen("batch", ("127.0.0.1", 0), ("127.0.0.1", 1))
    assert await ask(at, post()) == b""
    proxy.close()
    assert proxy.summary()["interrupted"] == 1


async def a_body_in_chunks_is_forwarded_whole():
    async def work(at, echo):
        head = b"POST /a HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
        reader, writer = await asyncio.open_connection(*at)
        writer.write(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        assert (await everything(reader, writer)).endswith(b"\r\n\r\nabcde")

    await with_proxy(Plan(1, 0.0), work)


async def a_seed_decides_and_the_share_holds():
    requests = [post(b"/%d" % number) for number in range(12000)]
    drawn = [[plan.kind_of(request) for request in requests] for plan in (Plan(1, 0.25), Plan(1, 0.25), Plan(2, 0.25))]
    assert drawn[0] == drawn[1] != drawn[2]
    counts = collections.Counter(drawn[0])
    assert 0.22 < 1 - counts[None] / len(requests) < 0.28, counts
    missing = set(KINDS) - set(counts)
    assert not missing, f"never drawn in {len(requests)} requests: {missing}"
    refused = sum(count for kind, count in counts.items() if kind in REFUSALS)
    assert refused < 0.5 * (len(requests) - counts[None]), "refusals crowd out the others"
    assert set(EXPECTED) == set(DAMAGES) and len(REFUSALS) == 8 * len(BODIES) * 2


async def a_request_is_not_refused_twice_with_one_status():
    plan = Plan(3, 1.0, ["refused-*"])
    statuses = [kind and REFUSALS[kind][0] for kind in (plan.kind_of(post()) for _ in range(500))]
    assert all(one is None or one != other for one, other in zip(statuses, statuses[1:]))
    only = Plan(3, 1.0, ["refused-403-azure"])
    assert [only.kind_of(post()) is not None for _ in range(4)] == [True, False, True, False]


async def the_program_says_where_it_listens_and_what_it_did():
    command = [sys.executable, str(Path(__file__).with_name("proxy.py"))]
    wrong = subprocess.run([*command, "--only", "nonsense", "--batch", "127.0.0.1:0=127.0.0.1:1"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "no kind of damage matches nonsense" in wrong.stderr, wrong.stderr
    listed = subprocess.run([*command, "kinds"], capture_output=True, text=True, check=True).stdout
    assert all(kind in listed for kind in DAMAGES), listed
    proxy = subprocess.Popen([*command, "--batch", "127.0.0.1:0=127.0.0.1:1", "--only", "lost-before", "--share", "1"],
                             stdout=subprocess.PIPE, text=True)
    host, _, port = json.loads(proxy.stdout.readline())["listening"]["batch"].rpartition(":")
    assert await ask((host, int(port)), post()) == b""
    proxy.send_signal(signal.SIGTERM)
    summary = json.loads(proxy.stdout.readline())
    assert proxy.wait() == 0 and summary["kinds"] == {"lost-before": 1}, summary


TESTS = [each_damage_does_what_it_says, an_unharmed_request_passes_unchanged, what_has_no_body_is_not_cut,
         a_head_request_gets_no_body_and_a_wrong_length, each_refusal_is_what_its_name_says,
         a_connection_lives_through_what_does_not_close_it, a_service_that_closed_its_connection_is_reached_again,
         a_service_that_is_away_closes_the_connection, a_body_in_chunks_is_forwarded_whole,
         a_seed_decides_and_the_share_holds, a_request_is_not_refused_twice_with_one_status,
         the_program_says_where_it_listens_and_what_it_did]


def selftest():
    began = time.monotonic()
    for test in TESTS:
        asyncio.run(test())
        print(f"{test.__name__.replace('_', ' ')}", flush=True)
    print(f"{len(TESTS)} tests of the proxy passed ({time.monotonic() - began:.1f} s)")
