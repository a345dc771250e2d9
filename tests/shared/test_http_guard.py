"""The bounds of an HTTP interface: each is refused with its reason, and whole requests are served."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI, Request, Response
from prometheus_client import REGISTRY

from shared.http_limits import HttpLimits, Refusal
from shared.http_server import Server, listen
from tests.support.raw_http import RawResponse, chunk, head, raw_connection

SECOND = timedelta(seconds=1)
LIMITS = HttpLimits(
    connections=8, timeout=SECOND * 20, body_bytes=200_000, buffered_bytes=500_000, linger=SECOND * 5
)
SHORT = replace(LIMITS, timeout=SECOND / 4)
CHUNKED = head(transfer_encoding="chunked")


@dataclass
class Port:
    """A server in this process whose app answers with the size of the body."""

    url: str
    name: str
    released: asyncio.Event
    server: Server

    @property
    def open_connections(self) -> int:
        return len(self.server.server_state.connections)

    def refused(self, refusal: Refusal) -> float:
        """How often requests were refused for this reason."""
        labels = {"interface": self.name, "reason": refusal.reason}
        return REGISTRY.get_sample_value("http_requests_refused_total", labels) or 0.0

    async def send(self, *parts: bytes, pause: float = 0.0) -> RawResponse:
        """Sends bytes over a new connection, and returns the response."""
        async with raw_connection(self.url) as connection:
            sending = asyncio.create_task(connection.send(*parts, pause=pause))
            response = await connection.response()
            sending.cancel()
            return response


_names = iter(f"port-{number}" for number in range(1000))


@contextlib.asynccontextmanager
async def serving(limits: HttpLimits = LIMITS) -> AsyncIterator[Port]:
    released = asyncio.Event()
    app = FastAPI()

    @app.api_route("/", methods=["GET", "POST"])
    async def answer(request: Request) -> int:
        return len(await request.body())

    @app.get("/slow")
    async def slow() -> str:
        await released.wait()
        return "released"

    @app.get("/large")
    async def large() -> Response:
        return Response(b"x" * 50_000_000)

    name = next(_names)
    listening = listen("127.0.0.1", 0)
    server = Server(app, name, limits)
    running = asyncio.create_task(server.serve([listening]))
    try:
        yield Port(f"http://127.0.0.1:{listening.getsockname()[1]}", name, released, server)
    finally:
        released.set()
        server.should_exit = True
        await running


async def test_request_within_the_limits_is_answered() -> None:
    async with serving() as port:
        sent = [
            ([head(content_length=200_000), b"x" * 200_000], b"200000"),
            ([CHUNKED, *[chunk(b"x" * 1000)] * 200, chunk(b"")], b"200000"),
            ([head(connection="Upgrade", upgrade="websocket", method="GET")], b"0"),
            ([b"POST / HTTP/1.1\r\nho", b"st: a\r\ncontent-", b"length: 3\r\n\r\n", b"ab", b"c"], b"3"),
            ([head(content_length=3, expect="100-continue"), b"abc"], b"3"),
        ]
        for parts, size in sent[:4]:
            response = await port.send(*parts, pause=0.01)
            assert (response.status, response.body) == (200, size)
        assert (await port.send(*sent[4][0])).status == 100


async def test_connection_is_used_again() -> None:
    async with serving(SHORT) as port, raw_connection(port.url) as connection:
        for _ in range(3):
            await connection.send(head(content_length=3), b"abc")
            assert (await connection.response()).body == b"3"
            await asyncio.sleep(0.3)  # longer than a request may take


LARGE_HEADER = b"GET / HTTP/1.1\r\nx: " + b"x" * 40_000
REFUSED = {
    "length": ([head(content_length=200_001), b"x" * 200_001], Refusal.BODY_TOO_LARGE),
    "chunks": ([CHUNKED, *[chunk(b"x" * 1000)] * 201], Refusal.BODY_TOO_LARGE),
    "tiny chunks": ([CHUNKED, chunk(b"x") * 4097], Refusal.BODY_TOO_LARGE),
    "header": ([LARGE_HEADER + b"\r\n\r\n"], Refusal.HEADERS_TOO_LARGE),
    "unfinished header": ([LARGE_HEADER], Refusal.HEADERS_TOO_LARGE),
    "unfinished first line": ([b"GET /" + b"x" * 40_000], Refusal.HEADERS_TOO_LARGE),
    "many headers": ([b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 102], Refusal.HEADERS_TOO_LARGE),
    "trailers": ([CHUNKED, b"0\r\n" + b"a: b\r\n" * 101], Refusal.HEADERS_TOO_LARGE),
    "unfinished trailer": ([CHUNKED, b"0\r\nx: ", b"x" * 400_000], Refusal.BODY_TOO_LARGE),
    "chunk extension": ([CHUNKED, b"1;x=", b"x" * 400_000], Refusal.BODY_TOO_LARGE),
    "no HTTP": ([b"\x16\x03\x01\x02\x00"], Refusal.MALFORMED),
    "bad length": ([head(content_length="9" * 30)], Refusal.MALFORMED),
    "bad target": ([b"GET http://[ HTTP/1.1\r\n\r\n"], Refusal.MALFORMED),
}


@pytest.mark.parametrize("parts, refusal", REFUSED.values(), ids=REFUSED)
async def test_request_beyond_a_limit_is_refused_with_its_reason(
    parts: list[bytes], refusal: Refusal
) -> None:
    async with serving() as port:
        response = await port.send(*parts)
        assert (response.status, response.code) == (refusal.status, refusal.reason)
        assert response.headers["content-type"] == "application/problem+json"
        assert port.refused(refusal) == 1


LATE = {
    "headers": ([b"GET / HTTP/1.1\r\n", *[b"a"] * 40], Refusal.HEADERS_LATE),
    "line ends": ([b"\r\n"] * 40, Refusal.HEADERS_LATE),
    "body": ([head(content_length=100), *[b"x"] * 40], Refusal.BODY_LATE),
    "chunks": ([CHUNKED, *[chunk(b"x")] * 40], Refusal.BODY_LATE),
}


@pytest.mark.parametrize("parts, refusal", LATE.values(), ids=LATE)
async def test_request_that_comes_slowly_is_refused(parts: list[bytes], refusal: Refusal) -> None:
    async with serving(SHORT) as port:
        response = await port.send(*parts, pause=0.05)
        assert (response.status, response.code) == (408, refusal.reason)
        assert port.refused(refusal) == 1


async def test_idle_connection_that_begins_a_request_slowly_is_refused() -> None:
    async with serving(SHORT) as port, raw_connection(port.url) as connection:
        await connection.send(head(method="GET"))
        assert (await connection.response()).status == 200
        await connection.send(b"GET / ")
        assert (await connection.response()).code == Refusal.HEADERS_LATE.reason


async def test_silent_connection_is_closed() -> None:
    async with serving(SHORT) as port:
        async with raw_connection(port.url) as connection:
            assert await connection.is_closed()
        assert port.refused(Refusal.HEADERS_LATE) == 1


async def test_refused_client_that_goes_on_sending_is_cut_off() -> None:
    async with serving(replace(SHORT, linger=SECOND / 4)) as port, raw_connection(port.url) as connection:
        sending = asyncio.create_task(connection.send(head(content_length=10**9), *[b"x"] * 400, pause=0.05))
        assert (await connection.response()).code == Refusal.BODY_TOO_LARGE.reason
        done, _ = await asyncio.wait({sending}, timeout=10)
        assert done
        sending.cancel()


@pytest.mark.parametrize(
    "opening", [b"", b"GET / HT", head(content_length=9)], ids=["new", "headers", "body"]
)
async def test_full_interface_gives_up_the_oldest_unfinished_request(opening: bytes) -> None:
    async with serving() as port, contextlib.AsyncExitStack() as stack:
        holding = [
            await stack.enter_async_context(raw_connection(port.url)) for _ in range(LIMITS.connections)
        ]
        for each in holding:
            await each.send(opening)
            await asyncio.sleep(0.01)
        for number in range(3):
            assert (await port.send(head(content_length=1), b"x")).body == b"1"
            assert port.refused(Refusal.CONNECTIONS) == number + 1
            response = await holding[number].response()
            assert response.status == (503 if opening else 0)
            # It is replaced by another one.
            await (await stack.enter_async_context(raw_connection(port.url))).send(opening)
            await asyncio.sleep(0.01)


async def test_given_up_connections_that_read_nothing_are_few() -> None:
    async with serving() as port, contextlib.AsyncExitStack() as stack:
        for _ in range(6 * LIMITS.connections):
            connection = await stack.enter_async_context(raw_connection(port.url))
            await connection.send(b"GET / HT")
            await asyncio.sleep(0.01)
        assert LIMITS.connections < port.open_connections <= 2 * LIMITS.connections


async def test_full_interface_closes_an_idle_connection_without_a_refusal() -> None:
    async with serving() as port, contextlib.AsyncExitStack() as stack:
        for _ in range(LIMITS.connections):
            connection = await stack.enter_async_context(raw_connection(port.url))
            await connection.send(head(method="GET"))
            assert (await connection.response()).status == 200
        assert (await port.send(head(method="GET"))).status == 200
        assert port.refused(Refusal.CONNECTIONS) == 0


async def test_requests_that_are_being_answered_are_never_given_up() -> None:
    async with serving() as port, contextlib.AsyncExitStack() as stack:
        holding = [
            await stack.enter_async_context(raw_connection(port.url)) for _ in range(LIMITS.connections)
        ]
        for each in holding:
            await each.send(head("/slow", method="GET"))
        await asyncio.sleep(0.1)
        async with raw_connection(port.url) as another:
            response = await another.response()
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert port.refused(Refusal.CONNECTIONS) == 1
        port.released.set()
        assert [(await each.response()).body for each in holding] == [b'"released"'] * LIMITS.connections


async def test_oldest_unfinished_body_makes_room_for_another_one() -> None:
    async with serving() as port, contextlib.AsyncExitStack() as stack:
        holding = [await stack.enter_async_context(raw_connection(port.url)) for _ in range(3)]
        for each in holding:
            await each.send(head(content_length=200_000), b"x" * 150_000)
            await asyncio.sleep(0.1)
        response = await port.send(head(content_length=100_000), b"x" * 100_000)
        assert response.body == b"100000"
        assert (await holding[0].response()).code == Refusal.BUFFERED_BYTES.reason
        assert port.refused(Refusal.BUFFERED_BYTES) == 1
        for each in holding[1:]:
            await each.send(b"x" * 50_000)
            assert (await each.response()).body == b"200000"
        # All memory is free again.
        for _ in range(5):
            assert (await port.send(head(content_length=200_000), b"x" * 200_000)).status == 200
        assert port.refused(Refusal.BUFFERED_BYTES) == 1


async def test_pipelined_requests_are_not_read() -> None:
    async with serving() as port, raw_connection(port.url) as connection:
        await connection.send(head(method="GET") * 1000)
        assert (await connection.response()).status == 200
        assert await connection.is_closed()
        assert port.refused(Refusal.PIPELINED) == 1


async def test_client_that_reads_nothing_is_cut_off() -> None:
    async with serving(replace(LIMITS, write_timeout=SECOND / 2)) as port:
        async with raw_connection(port.url, limit=1) as connection:
            await connection.send(head("/large", method="GET"))
            await asyncio.sleep(1)
            for _ in range(100):
                if port.refused(Refusal.RESPONSE_NOT_READ):
                    break
                await asyncio.sleep(0.1)
        assert port.refused(Refusal.RESPONSE_NOT_READ) == 1


async def test_client_that_leaves_before_its_body_is_whole_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as port:
        async with raw_connection(port.url) as connection:
            await connection.send(head(content_length=9), b"x")
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.05)
        assert (await port.send(head(method="GET"))).status == 200
    assert [record.message for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


def test_every_refusal_is_a_whole_response() -> None:
    parts: Any = [refusal.response.partition(b"\r\n\r\n") for refusal in Refusal]
    for top, _, body in parts:
        assert f"content-length: {len(body)}".encode() in top
        assert b"connection: close" in top
