#!/usr/bin/env python3
"""A proxy on loopback that damages a share of the requests between a client and `dropmill serve`.

    tests/endurance/proxy.py --batch LISTEN=SERVICE --blob LISTEN=SERVICE [--share 0.25] [--seed 1] [--only KIND ...]
    tests/endurance/proxy.py kinds          list the kinds of damage
    tests/endurance/proxy.py selftest       test the proxy against an echo server

LISTEN and SERVICE are ADDRESS:PORT. Start the service with `serve --host 127.0.0.2 --batch 127.0.0.1:PORT`, and let the
proxy listen on 127.0.0.2 with the same port: then every address that the service hands out, and every signed address that
a client makes, leads through the proxy. Requests are forwarded with their headers unchanged, so signatures stay valid.

It prints one line of JSON when it listens, and a summary as one line of JSON when it gets SIGTERM or SIGINT.
"""

import argparse
import asyncio
import contextlib
import fnmatch
import hashlib
import json
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate

HEAD_LIMIT = 1 << 20
STATUSES = {401: "Unauthorized", 403: "Forbidden", 409: "Conflict", 429: "Too Many Requests", 500: "Internal Server Error",
            502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}
# Body of a rejection: none; HTML of a gateway; the service's error; its first half, after which the connection is closed.
BODIES = ("empty", "page", "azure", "halved")
# Error code of the service for each status. The 409 must be transient: PoolExists would be wrong.
CODES = {
    "batch": {401: "AuthenticationFailed", 403: "AuthenticationFailed", 409: "OperationInvalidForCurrentState",
              429: "TooManyRequests", 500: "InternalError", 502: "InternalError", 503: "ServerBusy", 504: "OperationTimedOut"},
    "blob": {401: "NoAuthenticationInformation", 403: "AuthenticationFailed", 409: "ContainerBeingDeleted",
             429: "ServerBusy", 500: "InternalError", 502: "InternalError", 503: "ServerBusy", 504: "OperationTimedOut"},
}
DAMAGES = {
    "cut-request": "half of the request reaches the service, then both connections are closed",
    "cut-head": "the service executes the request, half of the response's head arrives",
    "cut-body": "half of the response's body arrives, then the connection is closed",
    "doubled": "the service gets the request twice, the second response arrives",
    "delayed": "the request waits for up to --delay seconds",
    "lost-before": "the connection is closed, the service gets nothing",
    "lost-after": "the service executes the request, then the connection is closed without a response",
    "short-length": "Content-Length is half of the response's body, all of which is sent",
    "long-length": "Content-Length is more than the response's body, after which the connection is closed",
    "shortened": "the response's body is cut in half, with the Content-Length of that half",
}
REFUSALS = {
    f"refused-{status}-{body}{dateless}": (status, body, not dateless)
    for status in STATUSES for body in BODIES for dateless in ("", "-dateless")
}
KINDS = [*DAMAGES, *REFUSALS]
# There are 64 kinds of rejections: as a group they have the weight of this many other kinds.
REFUSAL_WEIGHT = 4


class Closed(Exception):
    """A peer closed its connection."""


@dataclass
class Message:
    """A request or a response: first line, headers as received, body."""

    first: bytes
    headers: list
    body: bytes = b""

    def value(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def with_length(self, length):
        headers = [(key, value) for key, value in self.headers if key.lower() not in (b"content-length", b"transfer-encoding")]
        return Message(self.first, [*headers, (b"content-length", str(length).encode())], self.body)

    def head(self):
        lines = [self.first, *(key + b": " + value for key, value in self.headers), b"", b""]
        return b"\r\n".join(lines)

    def bytes(self):
        return self.head() + self.body

    @property
    def words(self):
        return self.first.split(b" ", 2)


async def read_message(reader, is_response_to=None):
    """Returns the next message of a connection; `None` at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Closed from error
        return None
    first, *lines = head[:-4].split(b"\r\n")
    headers = [tuple(part.strip() for part in line.split(b":", 1)) for line in lines]
    message = Message(first, headers)
    status = int(message.words[1]) if is_response_to else None
    if is_response_to == b"HEAD" or status in (204, 304):
        return message
    length = message.value(b"content-length")
    if (message.value(b"transfer-encoding") or b"").lower() == b"chunked":
        message.body = await read_chunks(reader)
        message = message.with_length(len(message.body))
    elif length is not None:
        message.body = await exactly(reader, int(length))
    elif is_response_to:
        message.body = await reader.read()
        message = message.with_length(len(message.body))
    return message


async def exactly(reader, count):
    try:
        return await reader.readexactly(count)
    except asyncio.IncompleteReadError as error:
        raise Closed from error


async def read_chunks(reader):
    body = b""
    while True:
        size = int((await reader.readline()).split(b";")[0] or b"0", 16)
        body += await exactly(reader, size)
        await reader.readline()
        if size == 0:
            return body


class Plan:
    """Decides about the damage of each request. The decision depends only on seed, request and its number of repetitions."""

    def __init__(self, seed, share, only=("*",), without=()):
        matches = lambda kind, patterns: any(fnmatch.fnmatch(kind, pattern) for pattern in patterns)
        chosen = [kind for kind in KINDS if matches(kind, only) and not matches(kind, without)]
        if not chosen:
            raise SystemExit(f"no kind of damage matches {' '.join(only)}; `proxy.py kinds` lists them")
        self.seed, self.share = seed, share
        self.damages = [kind for kind in chosen if kind in DAMAGES]
        self.refusals = [kind for kind in chosen if kind in REFUSALS]
        self.seen = {}
        self.refused = {}

    def kind_of(self, request):
        """Returns the damage for a request, or `None`. A rejected request is not rejected with the same status again
        when it is repeated."""
        key = hashlib.sha256(b" ".join(request.words[:2]) + request.body).digest()
        count = self.seen[key] = self.seen.get(key, 0) + 1
        dice = random.Random(hashlib.sha256(key + f"{self.seed} {count}".encode()).digest()[:8])
        before = self.refused.pop(key, None)
        if dice.random() >= self.share:
            return None
        groups = [*self.damages, *(["refused"] * REFUSAL_WEIGHT if self.refusals else [])]
        kind = dice.choice(groups)
        if kind == "refused":
            kind = dice.choice(self.refusals)
            status = REFUSALS[kind][0]
            if status == before:
                return None
            self.refused[key] = status
        return kind


def refusal(service, kind, number):
    """Returns the response to a rejected request, and how many bytes of its body are sent."""
    status, form, dated = REFUSALS[kind]
    reason, code, name = STATUSES[status], CODES[service][status], f"refused-{number:08x}"
    headers = [(b"server", b"proxy")]
    body = b""
    if form == "page":
        headers.append((b"content-type", b"text/html"))
        body = f"<html><head><title>{status} {reason}</title></head><body>{reason}</body></html>".encode()
    elif form in ("azure", "halved"):
        text = f"The proxy rejected this request.\nRequestId:{name}\nTime:2026-03-02T10:00:00.0000000Z"
        if service == "batch":
            headers += [(b"content-type", b"application/json;odata=minimalmetadata"), (b"request-id", name.encode())]
            body = json.dumps({"code": code, "message": {"lang": "en-US", "value": text}}).encode()
        else:
            headers += [(b"content-type", b"application/xml"), (b"x-ms-request-id", name.encode()),
                        (b"x-ms-error-code", code.encode())]
            body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'.encode()
        if status in (429, 503):
            headers.append((b"retry-after", b"1"))
    if dated:
        headers.append((b"date", formatdate(usegmt=True).encode()))
    sent = len(body) // 2 if form == "halved" else len(body)
    return Message(f"HTTP/1.1 {status} {reason}".encode(), headers, body).with_length(len(body)), sent


@dataclass
class Exchange:
    """One request of a client and its damage."""

    service: str
    address: tuple
    request: Message
    client: asyncio.StreamWriter
    upstream: list = field(default_factory=list)
    delay: float = 0.0
    number: int = 0

    async def forward(self):
        """Returns the service's response. Reconnects if the service has closed the connection since its last response."""
        while True:
            fresh = not self.upstream
            if fresh:
                self.upstream[:] = await asyncio.open_connection(*self.address, limit=HEAD_LIMIT)
            reader, writer = self.upstream
            with contextlib.suppress(ConnectionError, Closed):
                writer.write(self.request.bytes())
                await writer.drain()
                response = await read_message(reader, self.request.words[0])
                if response is not None:
                    if (response.value(b"connection") or b"").lower() == b"close":
                        self.drop_upstream()
                    return response
            self.drop_upstream()
            if fresh:
                raise Closed

    def drop_upstream(self):
        if self.upstream:
            self.upstream[1].close()
            self.upstream.clear()

    async def send(self, data):
        self.client.write(data)
        await self.client.drain()

    async def apply(self, kind):
        """Applies the damage. Returns whether the client's connection stays open, or `None` if there was nothing to damage."""
        if kind is None:
            await self.send((await self.forward()).bytes())
            return True
        if kind in REFUSALS:
            return await self.refuse(kind)
        return await getattr(self, kind.replace("-", "_"))()

    async def refuse(self, kind):
        response, sent = refusal(self.service, kind, self.number)
        if self.request.words[0] == b"HEAD":
            await self.send(response.head())
            return True
        await self.send(response.head() + response.body[:sent])
        return sent == len(response.body)

    async def cut_request(self):
        head, body = self.request.head(), self.request.body
        part = head + body[: len(body) // 2] if body else head[: len(head) // 2]
        # On a separate connection, so that the response of the service is discarded.
        _, writer = await asyncio.open_connection(*self.address)
        writer.write(part)
        await writer.drain()
        writer.close()
        return False

    async def cut_head(self):
        head = (await self.forward()).head()
        await self.send(head[: len(head) // 2])
        return False

    async def cut_body(self):
        response = await self.forward()
        await self.send(response.head() + response.body[: len(response.body) // 2])
        return False if response.body else None

    async def doubled(self):
        await self.forward()
        await self.send((await self.forward()).bytes())
        return True

    async def delayed(self):
        await asyncio.sleep(self.delay)
        return await self.apply(None)

    async def lost_before(self):
        return False

    async def lost_after(self):
        await self.forward()
        return False

    async def short_length(self):
        response = await self.forward()
        length = int(response.value(b"content-length") or 0)
        if length == 0:
            await self.send(response.bytes())
            return None
        await self.send(response.with_length(length // 2).bytes())
        return self.request.words[0] == b"HEAD"

    async def long_length(self):
        response = await self.forward()
        if response.value(b"content-length") is None:
            await self.send(response.bytes())
            return None
        length = int(response.value(b"content-length"))
        await self.send(response.with_length(length + 1000).bytes())
        return self.request.words[0] == b"HEAD"

    async def shortened(self):
        response = await self.forward()
        if not response.body:
            await self.send(response.bytes())
            return None
        response.body = response.body[: len(response.body) // 2]
        await self.send(response.with_length(len(response.body)).bytes())
        return True


class Proxy:
    """Accepts clients of one or two services and counts damages."""

    def __init__(self, plan, delay=2.0, log=None):
        self.plan, self.delay, self.log = plan, delay, log
        self.counts = dict.fromkeys(KINDS, 0)
        self.requests = self.passed = self.spared = self.interrupted = 0
        self.began = time.monotonic()
        self.servers, self.tasks = [], set()

    async def listen(self, service, at, to):
        async def connected(reader, writer):
            # Keep a reference: the event loop holds only weak references to tasks.
            task = asyncio.current_task()
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            with contextlib.suppress(ConnectionError, Closed, asyncio.CancelledError):
                await self.talk(service, to, reader, writer)
            writer.close()

        server = await asyncio.start_server(connected, *at, limit=HEAD_LIMIT)
        self.servers.append(server)
        return server.sockets[0].getsockname()[:2]

    async def talk(self, service, to, reader, writer):
        upstream = []
        try:
            while (request := await read_message(reader)) is not None:
                self.requests += 1
                kind = self.plan.kind_of(request)
                delay = random.Random(self.requests).uniform(0, self.delay)
                exchange = Exchange(service, to, request, writer, upstream, delay, self.requests)
                stays = await self.apply(exchange, kind)
                if not stays:
                    return
        finally:
            if upstream:
                upstream[1].close()

    async def apply(self, exchange, kind):
        try:
            stays = await exchange.apply(kind)
        except (OSError, Closed):
            self.interrupted += 1
            self.write_log(exchange, "interrupted")
            return False
        if kind is None:
            self.passed += 1
        elif stays is None:
            # An empty body cannot be cut, so the response was forwarded unchanged.
            self.spared += 1
            return True
        else:
            self.counts[kind] += 1
            self.write_log(exchange, kind)
        return stays

    def write_log(self, exchange, kind):
        if self.log:
            method, target = (word.decode(errors="replace") for word in exchange.request.words[:2])
            path = target.split("?")[0]
            self.log.write(f"{time.time():.3f} {exchange.number} {kind} {exchange.service} {method} {path}\n")
            self.log.flush()

    def summary(self):
        hurt = sum(self.counts.values())
        return {
            "requests": self.requests, "passed": self.passed, "damaged": hurt, "nothing_to_damage": self.spared,
            "interrupted": self.interrupted, "seconds": round(time.monotonic() - self.began, 1),
            "kinds": {kind: count for kind, count in self.counts.items() if count},
        }

    def close(self):
        for server in self.servers:
            server.close()


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


async def serve(arguments):
    log = open(arguments.log, "a") if arguments.log else None
    proxy = Proxy(Plan(arguments.seed, arguments.share, arguments.only, arguments.without), arguments.delay, log)
    listening = {}
    for service in ("batch", "blob"):
        for pair in getattr(arguments, service):
            at, to = pair.split("=")
            listening[service] = "{}:{}".format(*await proxy.listen(service, address(at), address(to)))
    if not listening:
        raise SystemExit("no address to listen on: specify --batch LISTEN=SERVICE, --blob LISTEN=SERVICE or both")
    print(json.dumps({"listening": listening}), flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    proxy.close()
    print(json.dumps(proxy.summary()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="serve", choices=("serve", "kinds", "selftest"))
    parser.add_argument("--batch", action="append", default=[], metavar="LISTEN=SERVICE")
    parser.add_argument("--blob", action="append", default=[], metavar="LISTEN=SERVICE")
    parser.add_argument("--share", type=float, default=0.25, help="share of requests to damage, 0 to 1")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="KIND", help="only these kinds, for example refused-403-*")
    parser.add_argument("--without", nargs="+", default=[], metavar="KIND", help="exclude these kinds")
    parser.add_argument("--delay", type=float, default=2.0, help="longest delay in seconds")
    parser.add_argument("--log", metavar="FILE", help="append one line for each damaged request")
    arguments = parser.parse_args()
    if arguments.command == "kinds":
        for kind, what in DAMAGES.items():
            print(f"{kind:<14} {what}")
        print(f"refused-STATUS-BODY[-dateless]: STATUS {', '.join(map(str, STATUSES))}; BODY {', '.join(BODIES)}")
    elif arguments.command == "selftest":
        from proxy_selftest import selftest

        selftest()
    else:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(arguments))
    return 0


if __name__ == "__main__":
    sys.exit(main())
