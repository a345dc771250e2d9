"""uvicorn's HTTP protocol with bounds: what a stranger sends, or does not send, costs little.

uvicorn has no deadline for headers and bodies and, with its quick parser, no bound of either; its bound of
connections refuses health requests as well and closes nothing (docs/decisions/0011).

A connection whose request has not come whole can be given up: when the interface is full, the one that has
been waiting longest is closed for a new one. So a client that sends its request at once is served, however
many connections a stranger holds open.
"""

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .http_limits import REQUESTS_REFUSED, HttpLimits, Refusal


class _Phase(Enum):
    IDLE = auto()  # between two requests
    HEADERS = auto()
    BODY = auto()
    ANSWER = auto()  # the request is whole, its response is not
    CLOSING = auto()  # whatever comes is ignored


class ConnectionGuard:
    """The connections of one interface.

    Args:
        interface: its name in the metric.
        limits: of all connections together, and of each.
    """

    def __init__(self, interface: str, limits: HttpLimits) -> None:
        self.limits = limits
        self._interface = interface
        self._open: set[GuardedProtocol] = set()
        self._incomplete: dict[GuardedProtocol, None] = {}  # in the order in which they began to wait
        self._given_up: dict[GuardedProtocol, None] = {}  # until their clients have read why
        self._buffered_bytes = 0

    def count(self, refusal: Refusal) -> None:
        """Counts a refusal."""
        REQUESTS_REFUSED.labels(self._interface, refusal.reason).inc()

    def admit(self, connection: "GuardedProtocol") -> bool:
        """Whether a new connection is accepted; an older one without a whole request is given up for it."""
        if len(self._open) >= self.limits.connections:
            oldest = next(iter(self._incomplete), None)
            if oldest is None:
                return False
            oldest.give_up(Refusal.CONNECTIONS)
        self._open.add(connection)
        return True

    def set_incomplete(self, connection: "GuardedProtocol", incomplete: bool) -> None:
        """The connection begins to wait for a whole request, or has one."""
        self._incomplete.pop(connection, None)
        if incomplete and connection in self._open:
            self._incomplete[connection] = None

    def buffer(self, connection: "GuardedProtocol", count: int) -> bool:
        """Whether bytes of a body are accepted; the oldest unfinished body is given up for them."""
        while self._buffered_bytes + count > self.limits.buffered_bytes:
            oldest = next((each for each in self._incomplete if each.body_bytes), None)
            if oldest is None or oldest is connection:
                return False
            oldest.give_up(Refusal.BUFFERED_BYTES)
        self._buffered_bytes += count
        return True

    def release(self, count: int) -> None:
        """Bytes of a body are no longer in memory."""
        self._buffered_bytes -= count

    def give_up(self, connection: "GuardedProtocol") -> None:
        """The connection counts no longer; of such ones as many again may wait for their clients."""
        self.forget(connection)
        self._given_up[connection] = None
        if len(self._given_up) > self.limits.connections:
            next(iter(self._given_up)).cut_off()

    def forget(self, connection: "GuardedProtocol") -> None:
        """The connection is closed."""
        self._open.discard(connection)
        self._incomplete.pop(connection, None)
        self._given_up.pop(connection, None)


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    Args:
        guard: of the interface.
        options: uvicorn's own arguments.
    """

    def __init__(self, guard: ConnectionGuard, **options: Any) -> None:
        super().__init__(**options)
        self.body_bytes = 0
        self._guard = guard
        self._limits = guard.limits
        self._phase = _Phase.HEADERS
        self._refusal = Refusal.MALFORMED
        self._is_new = True
        self._raw_bytes = self._header_bytes = self._header_count = self._chunk_count = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    # -- the connection ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Accepts the connection, or refuses it when all others are being answered."""
        if self._guard.admit(self):
            super().connection_made(transport)
            self._enter(_Phase.HEADERS, self._on_headers_late)
        else:
            self.transport, self._phase = transport, _Phase.CLOSING
            self._guard.count(Refusal.CONNECTIONS)
            transport.write(Refusal.CONNECTIONS.response)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Frees what the connection used."""
        self._leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what came, within the limits."""
        if self._phase is _Phase.CLOSING:
            return
        self._unset_keepalive_if_required()
        if self._phase is _Phase.IDLE:
            self._enter(_Phase.HEADERS, self._on_headers_late)
            self._raw_bytes = 0
        self._is_new = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # no interface has another protocol: it is answered as a plain request
        except httptools.HttpParserError:
            self._refuse(self._refusal)
            return
        # The parser keeps an unfinished header or trailer, however long it is, and reports nothing of it.
        self._raw_bytes += len(data)
        if self._phase is _Phase.HEADERS and self._raw_bytes > self._limits.header_bytes:
            self._refuse(Refusal.HEADERS_TOO_LARGE)
        elif self._phase is _Phase.BODY and self._raw_bytes > self._limits.raw_bytes:
            self._refuse(Refusal.BODY_TOO_LARGE)

    def pause_writing(self) -> None:
        """The client does not read its response."""
        super().pause_writing()
        if self._write_deadline is None:
            seconds = self._limits.write_timeout.total_seconds()
            self._write_deadline = self.loop.call_later(seconds, self._on_response_not_read)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, whether the client has read everything or not."""
        super().timeout_keep_alive_handler()
        self._enter(_Phase.CLOSING, self.transport.abort, self._limits.linger.total_seconds())

    # -- a request, as the parser finds it --------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins. One that does not wait for the answer to the last one is not read."""
        if self._phase is _Phase.ANSWER:
            self._fail(Refusal.PIPELINED)
        super().on_message_begin()
        self._header_bytes = self._header_count = self._chunk_count = 0

    def on_url(self, url: bytes) -> None:
        """A part of the first line."""
        self._count_header(len(url), 0)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after the body."""
        self._count_header(len(name) + len(value) + 4, 1)
        if name.lower() == b"content-length" and int(value) > self._limits.body_bytes:
            self._fail(Refusal.BODY_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The body follows."""
        super().on_headers_complete()
        self._enter(_Phase.BODY, self._on_body_late)

    def on_chunk_header(self) -> None:
        """A part of a body without a length."""
        self._chunk_count += 1
        if self._chunk_count > self._limits.chunks:
            self._fail(Refusal.BODY_TOO_LARGE)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.body_bytes + len(body) > self._limits.body_bytes:
            self._fail(Refusal.BODY_TOO_LARGE)
        if not self._guard.buffer(self, len(body)):
            self._fail(Refusal.BUFFERED_BYTES)
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: the app gets it, and the client has no deadline."""
        super().on_message_complete()
        self._enter(_Phase.ANSWER, None)

    def on_response_complete(self) -> None:
        """The connection waits for another request, or is being closed."""
        super().on_response_complete()
        self._release_body()
        if self.transport.is_closing() or self._phase is not _Phase.ANSWER:
            self._enter(_Phase.CLOSING, self.transport.abort, self._limits.write_timeout.total_seconds())
        else:
            self._enter(_Phase.IDLE, None)

    def _count_header(self, size: int, count: int) -> None:
        self._header_bytes += size
        self._header_count += count
        if self._header_bytes > self._limits.header_bytes or self._header_count > self._limits.headers:
            self._fail(Refusal.HEADERS_TOO_LARGE)

    def _fail(self, refusal: Refusal) -> None:
        """Ends the parsing; `data_received` refuses the request."""
        self._refusal = refusal
        raise ValueError(refusal.reason)

    # -- refusals ---------------------------------------------------------------------------------

    def give_up(self, refusal: Refusal) -> None:
        """Closes the connection for another one; an idle one is no refusal."""
        if self._phase is _Phase.IDLE or self._phase is _Phase.CLOSING:
            self.cut_off()
        else:
            self._refuse(refusal)
            self._guard.give_up(self)

    def cut_off(self) -> None:
        """Closes the connection at once."""
        self._leave()
        self.transport.abort()

    def _on_headers_late(self) -> None:
        self._refuse(Refusal.HEADERS_LATE)

    def _on_body_late(self) -> None:
        self._refuse(Refusal.BODY_LATE)

    def _on_response_not_read(self) -> None:
        self._guard.count(Refusal.RESPONSE_NOT_READ)
        self.cut_off()

    def _refuse(self, refusal: Refusal) -> None:
        """Answers with the reason, and ignores what comes until the client has read it, or for `linger`.

        A connection that is closed while data come is reset, and a client that is still sending never sees
        the answer.
        """
        self._guard.count(refusal)
        if self._phase is _Phase.ANSWER:
            self.cycle.keep_alive = False  # uvicorn closes after this response
            self._phase = _Phase.CLOSING
            return
        if self._phase is _Phase.BODY:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._release_body()
        self._enter(_Phase.CLOSING, self.transport.abort, self._limits.linger.total_seconds())
        self.flow.resume_reading()
        if self._is_new or self.transport.is_closing():
            self.transport.close()
        else:
            self.transport.write(refusal.response)
            self.transport.write_eof()

    def _enter(self, phase: _Phase, on_late: Callable[[], None] | None, seconds: float | None = None) -> None:
        """Begins a phase, with what happens when it takes too long."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._phase, self._deadline = phase, None
        if on_late is not None:
            wait = self._limits.timeout.total_seconds() if seconds is None else seconds
            self._deadline = self.loop.call_later(wait, on_late)
        if phase is not _Phase.BODY:  # a body counts as old as its headers
            self._guard.set_incomplete(self, phase is not _Phase.ANSWER)

    def _release_body(self) -> None:
        self._guard.release(self.body_bytes)
        self.body_bytes = 0

    def _leave(self) -> None:
        self._release_body()
        self._guard.forget(self)
        self._phase = _Phase.CLOSING
        for timer in (self._deadline, self._write_deadline):
            if timer is not None:
                timer.cancel()


def with_whole_requests(app: ASGIApp) -> ASGIApp:
    """Calls the app only with requests that have come whole; their size is the protocol's concern."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        has_more = scope["type"] == "http"
        while has_more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def receive_whole() -> Message:
            return whole.pop() if whole else await receive()

        await app(scope, receive_whole, send)

    return handle
