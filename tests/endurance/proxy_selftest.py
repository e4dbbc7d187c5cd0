"""Tests of the proxy against an echo server: what the service and the client receive for each kind of damage."""

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
# For each kind: complete and incomplete requests that the service receives, and what the client receives.
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
    """A server that returns the body of each request and records what it received."""

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
    """Returns everything that arrives until the connection ends; sends nothing more."""
    data = b""
    with contextlib.suppress(ConnectionError):
        writer.write_eof()
        while piece := await asyncio.wait_for(reader.read(65536), PATIENCE):
            data += piece
    writer.close()
    return data


def seen(data, sent):
    """Describes what a client received."""
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


async def send(at, request):
    reader, writer = await asyncio.open_connection(*at)
    writer.write(request.bytes())
    return await everything(reader, writer)


async def with_proxy(plan, work):
    """Runs `work` with an echo server behind a proxy; returns the counts of the proxy."""
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


async def each_damage_matches_its_description():
    for kind, (whole, torn, expected) in EXPECTED.items():
        async def work(at, echo):
            got = seen(await send(at, post()), BODY)
            assert got == expected, f"{kind}: {got}"
            assert (len(echo.whole), echo.torn) == (whole, torn), f"{kind}: {len(echo.whole)} whole, {echo.torn} torn"
            for request in echo.whole:
                assert request.bytes() == post().bytes(), f"{kind}: the request was changed"

        summary = await with_proxy(Plan(1, 1.0, [kind]), work)
        assert summary["kinds"] == {kind: 1} and summary["requests"] == 1, summary


async def an_undamaged_request_is_forwarded_unchanged():
    async def work(at, echo):
        assert seen(await send(at, post()), BODY) == "whole"
        assert echo.whole[0].bytes() == post().bytes()

    summary = await with_proxy(Plan(1, 0.0), work)
    assert (summary["passed"], summary["damaged"]) == (1, 0), summary


async def messages_without_body_are_not_cut():
    for kind in ("cut-body", "shortened", "short-length"):
        async def work(at, echo):
            data = await send(at, post(method=b"DELETE"))
            assert data.startswith(b"HTTP/1.1 200") and data.endswith(b"\r\n\r\n"), f"{kind}: {data}"

        summary = await with_proxy(Plan(1, 1.0, [kind]), work)
        assert summary["nothing_to_damage"] == 1 and not summary["kinds"], summary


async def a_head_request_gets_no_body_and_a_wrong_length():
    for kind, length in (("short-length", b"2"), ("long-length", b"1004"), ("refused-403-azure", None)):
        async def work(at, echo):
            data = await send(at, post(method=b"HEAD", body=b""))
            head, _, body = data.partition(b"\r\n\r\n")
            assert body == b"", f"{kind}: {data}"
            assert length is None or b"content-length: " + length in head, f"{kind}: {head}"

        await with_proxy(Plan(1, 1.0, [kind]), work)


async def each_rejection_matches_its_name():
    for kind, (status, form, dated) in REFUSALS.items():
        async def work(at, echo):
            data = await send(at, post())
            head, _, body = data.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status), f"{kind}: {head}"
            assert (b"\r\ndate: " in head) == dated, f"{kind}: {head}"
            expected, sent = refusal("batch", kind, 1)
            assert body == expected.body[:sent], f"{kind}: {body}"
            assert (len(body) < len(expected.body)) == (form == "halved")
            assert (body == b"") == (form == "empty")
            if form == "azure":
                assert json.loads(body)["code"], body
            assert not echo.whole, f"{kind}: the service received a rejected request"
            assert seen(await send(at, post()), BODY) == "whole", f"{kind}: the next attempt was rejected again"

        summary = await with_proxy(Plan(1, 1.0, [kind]), work)
        assert summary["kinds"] == {kind: 1} and summary["passed"] == 1, summary


async def a_connection_survives_damages_that_do_not_close_it():
    async def work(at, echo):
        reader, writer = await asyncio.open_connection(*at)
        for number in range(4):
            writer.write(post(b"/%d" % number).bytes())
            response = await asyncio.wait_for(read_message(reader, b"POST"), PATIENCE)
            assert response.words[1] in (b"200", b"503")
        writer.close()

    await with_proxy(Plan(1, 1.0, ["doubled", "delayed", "refused-503-azure"]), work)


async def the_proxy_reconnects_to_a_service():
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


async def an_unreachable_service_closes_the_connection():
    proxy = Proxy(Plan(1, 0.0))
    at = await proxy.listen("batch", ("127.0.0.1", 0), ("127.0.0.1", 1))
    assert await send(at, post()) == b""
    proxy.close()
    assert proxy.summary()["interrupted"] == 1


async def a_chunked_body_is_forwarded_completely():
    async def work(at, echo):
        head = b"POST /a HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n"
        reader, writer = await asyncio.open_connection(*at)
        writer.write(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        assert (await everything(reader, writer)).endswith(b"\r\n\r\nabcde")

    await with_proxy(Plan(1, 0.0), work)


async def equal_seeds_decide_equally_and_the_share_is_correct():
    requests = [post(b"/%d" % number) for number in range(12000)]
    drawn = [[plan.kind_of(request) for request in requests] for plan in (Plan(1, 0.25), Plan(1, 0.25), Plan(2, 0.25))]
    assert drawn[0] == drawn[1] != drawn[2]
    counts = collections.Counter(drawn[0])
    assert 0.22 < 1 - counts[None] / len(requests) < 0.28, counts
    missing = set(KINDS) - set(counts)
    assert not missing, f"kinds that never occurred in {len(requests)} requests: {missing}"
    refused = sum(count for kind, count in counts.items() if kind in REFUSALS)
    assert refused < 0.5 * (len(requests) - counts[None]), "rejections are too frequent"
    assert set(EXPECTED) == set(DAMAGES) and len(REFUSALS) == 8 * len(BODIES) * 2


async def a_request_is_not_rejected_twice_with_the_same_status():
    plan = Plan(3, 1.0, ["refused-*"])
    statuses = [kind and REFUSALS[kind][0] for kind in (plan.kind_of(post()) for _ in range(500))]
    assert all(one is None or one != other for one, other in zip(statuses, statuses[1:]))
    only = Plan(3, 1.0, ["refused-403-azure"])
    assert [only.kind_of(post()) is not None for _ in range(4)] == [True, False, True, False]


async def the_program_prints_its_addresses_and_a_summary():
    command = [sys.executable, str(Path(__file__).with_name("proxy.py"))]
    wrong = subprocess.run([*command, "--only", "nonsense", "--batch", "127.0.0.1:0=127.0.0.1:1"], capture_output=True, text=True)
    assert wrong.returncode != 0 and "no kind of damage matches nonsense" in wrong.stderr, wrong.stderr
    listed = subprocess.run([*command, "kinds"], capture_output=True, text=True, check=True).stdout
    assert all(kind in listed for kind in DAMAGES), listed
    proxy = subprocess.Popen([*command, "--batch", "127.0.0.1:0=127.0.0.1:1", "--only", "lost-before", "--share", "1"],
                             stdout=subprocess.PIPE, text=True)
    host, _, port = json.loads(proxy.stdout.readline())["listening"]["batch"].rpartition(":")
    assert await send((host, int(port)), post()) == b""
    proxy.send_signal(signal.SIGTERM)
    summary = json.loads(proxy.stdout.readline())
    assert proxy.wait() == 0 and summary["kinds"] == {"lost-before": 1}, summary


TESTS = [each_damage_matches_its_description, an_undamaged_request_is_forwarded_unchanged, messages_without_body_are_not_cut,
         a_head_request_gets_no_body_and_a_wrong_length, each_rejection_matches_its_name,
         a_connection_survives_damages_that_do_not_close_it, the_proxy_reconnects_to_a_service,
         an_unreachable_service_closes_the_connection, a_chunked_body_is_forwarded_completely,
         equal_seeds_decide_equally_and_the_share_is_correct, a_request_is_not_rejected_twice_with_the_same_status,
         the_program_prints_its_addresses_and_a_summary]


def selftest():
    began = time.monotonic()
    for test in TESTS:
        asyncio.run(test())
        print(f"{test.__name__.replace('_', ' ')}", flush=True)
    print(f"{len(TESTS)} tests of the proxy passed ({time.monotonic() - began:.1f} s)")
