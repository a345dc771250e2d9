"""Runs a service: its HTTP servers, its loops and its subscriptions, until SIGTERM.

SIGTERM drains: no new requests, the batches in flight finish and commit, loops end at their next
step, all within 10 s. A loop or a subscription that fails stops the process with status 1, so that
whoever supervises it starts a fresh one.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from .broker import Kafka
from .clock import Clock
from .connection import fit_for_uvloop
from .errors import Transient
from .provision import Unsafe, check
from .telemetry import PATHS, Health
from .topics import TOPICS, Topic

log = logging.getLogger(__name__)

DRAIN = timedelta(seconds=6)
"""Loops, requests and batches that are still at work after this are cancelled; with Kafka's `LEAVE` it is out within 10 s."""
REQUESTS_DRAIN = timedelta(seconds=3)
"""Open requests and streams end after this."""
LOOK = timedelta(seconds=5)
"""How often we look whether Kafka answers: a consumer that hears nothing meanwhile, or cannot commit, is not alive."""


class Stopping:
    """Set when the service is to stop; loops look at it, or sleep on it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Stops the service."""
        self._event.set()

    async def wait(self) -> None:
        """Until it stops."""
        await self._event.wait()

    async def sleep(self, time: timedelta) -> None:
        """Until the time is over, or it stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), time.total_seconds())


Loop = Callable[[Stopping], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Service:
    """What a service is made of; `create_app` of each service builds one.

    Attributes:
        http: (host, port, app) of each HTTP interface; the first one also answers health, metrics, status.
            Until all else is connected, the rest of them answers 503.
        loops: name -> a coroutine function that runs until it is told to stop.
        open: an async context manager around all else: connections to stores and the like.
    """

    name: str
    kafka: Kafka
    clock: Clock
    health: Health = field(default_factory=Health)
    http: list[tuple[str, int, FastAPI]] = field(default_factory=list)
    loops: dict[str, Loop] = field(default_factory=dict)
    open: Callable[[], contextlib.AbstractAsyncContextManager[Any]] | None = None
    stopping: Stopping = field(default_factory=Stopping)
    started: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Runs until `stopping` is set or something fails; raises what failed."""
        self._observe()
        async with contextlib.AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(self._serving(host, port, app))
                for host, port, app in self.http
            ]
            await self._start(stack)
            loops = [
                asyncio.create_task(loop(self.stopping), name=name)
                for name, loop in (self.loops | {"kafka": self._look}).items()
                if self.started
            ]
            stop = asyncio.create_task(self.stopping.wait())
            try:
                await _until_done(stop, *loops, *(server.task for server in servers), self.kafka.failed)
            finally:
                self.stopping.set()
                await stop
                await self._drain(servers, loops)
        for task in (self.kafka.failed, *loops):
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Connects all; a stop comes through at any moment of it."""
        async with _cut_short(self.stopping):
            if self.open:
                await stack.enter_async_context(self.open())
            await self._connect()
            self.started = True
            log.info("started", extra={"service": self.name})

    async def _connect(self) -> None:
        ours = [topic for topic in TOPICS if topic in self._topics()]
        told = False
        while True:
            try:
                await check(self.kafka.settings, ours)
                await self.kafka.start()
                return
            except Transient as away:
                if not told:
                    log.warning("waiting for Kafka", extra={"why": str(away)})
                told = True
                await asyncio.sleep(0.5)

    def _topics(self) -> set[Topic]:
        """Those that this service writes or reads."""
        return {topic for topic in TOPICS if self.name == topic.writer or self.name in topic.readers} | {
            each.topic for each in self.kafka.subscriptions
        }

    async def _drain(self, servers: list["_Server"], loops: list["asyncio.Task[None]"]) -> None:
        for server in servers:
            server.should_exit = True
        busy = {server.task for server in servers} | {asyncio.create_task(self.kafka.drain()), *loops}
        _, late = await asyncio.wait(busy, timeout=DRAIN.total_seconds())
        for task in late:
            log.warning("did not end in time", extra={"task": task.get_name()})
            task.cancel()
        await asyncio.wait(busy, timeout=1)  # also for what does not hear that it is cancelled
        await self.kafka.stop()

    async def _look(self, stopping: Stopping) -> None:
        while not stopping:
            if await self.kafka.ping():
                await asyncio.gather(*(each.commit_late() for each in self.kafka.subscriptions))
            await stopping.sleep(LOOK)

    def _observe(self) -> None:
        for subscription in self.kafka.subscriptions:
            name = subscription.topic.name
            self.health.alive[f"reads {name}"] = lambda each=subscription: self.kafka.silent_for(each)  # type: ignore[misc]
            self.health.status[f"{name} lag"] = subscription.backlog
            self.health.measures.append(subscription.measure)
        self.health.ready["kafka"] = self._kafka_ready
        _, _, app = self.http[0]
        self.health.answer(app)

    async def _kafka_ready(self) -> str | None:
        if not self.started:
            return "starting"
        return None if await self.kafka.ping() else "Kafka does not answer"

    @contextlib.asynccontextmanager
    async def _serving(self, host: str, port: int, app: FastAPI) -> AsyncIterator["_Server"]:
        listening = _listen(host, port)
        server = _Server(_not_before(lambda: self.started, app))
        server.task = asyncio.create_task(
            server.serve([listening]), name=f"http {listening.getsockname()[1]}"
        )
        log.info("listening", extra={"host": host, "port": listening.getsockname()[1]})
        try:
            yield server
        finally:
            server.should_exit = True
            await server.task


class _Server(uvicorn.Server):
    """Signals are the service's, not the HTTP server's."""

    task: "asyncio.Task[None]"

    def __init__(self, app: ASGIApp) -> None:
        drain = int(REQUESTS_DRAIN.total_seconds())
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=drain,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def _not_before(started: Callable[[], bool], app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not started() and scope["path"] not in PATHS:
            await PlainTextResponse("starting", 503, {"retry-after": "1"})(scope, receive, send)
        else:
            await app(scope, receive, send)

    return answer


@contextlib.asynccontextmanager
async def _cut_short(stopping: Stopping) -> AsyncIterator[None]:
    """Leaves the block at its next await when the service is to stop."""
    limit = asyncio.timeout(None)

    async def cut() -> None:
        await stopping.wait()
        limit.reschedule(0)

    try:
        async with limit:
            cutting = asyncio.create_task(cut())
            try:
                yield
            finally:
                cutting.cancel()
    except TimeoutError:
        if not limit.expired():
            raise


async def _until_done(stop: "asyncio.Future[Any]", *others: "asyncio.Future[Any]") -> None:
    """Until `stop` is done, or another one failed."""
    watched = {stop, *others}
    while not stop.done():
        done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if any(task.cancelled() or task.exception() for task in done):
            return


def run(build: Callable[[], Awaitable[Service]]) -> None:
    """The whole life of a service's process, from `build` to its exit status: 0 when stopped, 2 when it refuses to start, else 1."""
    import uvloop

    fit_for_uvloop()

    async def main() -> None:
        service = await build()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stopping.set)
        await service.run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except Unsafe as refused:
        sys.stderr.write(f"{refused}\n")
        sys.exit(2)
    except Exception:
        log.exception("stopped by an error")
        sys.exit(1)
