"""Runs a service: its HTTP servers, its loops and its subscriptions, until SIGTERM.

SIGTERM drains: no new requests, the batches in flight finish and commit, loops end at their next
step, all within 10 s. A loop or a subscription that fails stops the process with status 1, so that
whoever supervises it starts a fresh one.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import uvicorn
from fastapi import FastAPI

from .broker import Kafka
from .clock import Clock
from .errors import Transient
from .provision import check
from .telemetry import Health

log = logging.getLogger(__name__)

DRAIN = timedelta(seconds=9)
"""What is still running after this is cancelled; out within 10 s."""
REQUESTS_DRAIN = timedelta(seconds=3)
"""Open requests and streams end after this."""


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
        loops: name -> a coroutine function that runs until it is told to stop.
        open: an async context manager around all else: connections to stores and the like.
        before_start: runs when Kafka is connected, before the subscriptions start.
    """

    name: str
    kafka: Kafka
    clock: Clock
    health: Health = field(default_factory=Health)
    http: list[tuple[str, int, FastAPI]] = field(default_factory=list)
    loops: dict[str, Loop] = field(default_factory=dict)
    open: Callable[[], contextlib.AbstractAsyncContextManager[Any]] | None = None
    stopping: Stopping = field(default_factory=Stopping)

    async def run(self) -> None:
        """Runs until `stopping` is set or something fails; raises what failed."""
        self._observe()
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(_serving(host, port, app)) for host, port, app in self.http]
            if self.open:
                await stack.enter_async_context(self.open())
            await self._connect()
            log.info("started", extra={"service": self.name})
            running = [asyncio.create_task(loop(self.stopping), name=name) for name, loop in self.loops.items()]
            stop = asyncio.create_task(self.stopping.wait())
            watched = {stop, self.kafka.failed, *running, *servers}
            try:
                await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                while not self.stopping and not any(_failure(task) for task in watched if task.done()):
                    watched = {task for task in watched if not task.done()}
                    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self.stopping.set()
                await self._drain(running)
        for task in (self.kafka.failed, *running):
            if task.done() and (error := _failure(task)):
                raise error

    async def _connect(self) -> None:
        waited = 0
        while not self.stopping:
            try:
                await self.kafka.start()
                return
            except Transient as away:
                if waited % 10 == 0:
                    log.warning("waiting for Kafka", extra={"why": str(away)})
                waited += 1
                await self.stopping.sleep(timedelta(seconds=0.5))

    async def _drain(self, running: list["asyncio.Task[None]"]) -> None:
        try:
            async with asyncio.timeout(DRAIN.total_seconds()):
                await asyncio.gather(*running, return_exceptions=True)
                await self.kafka.stop()
        except TimeoutError:
            log.warning("did not drain in time", extra={"loops": [task.get_name() for task in running if not task.done()]})
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _observe(self) -> None:
        for subscription in self.kafka.subscriptions:
            name = subscription.topic.name
            self.health.alive[f"reads {name}"] = lambda subscription=subscription: subscription.silent_for(int(self.clock().timestamp() * 1000))  # type: ignore[misc]
            self.health.status[f"{name} lag"] = _total(subscription.lag)
            self.health.measures.append(subscription.measure)
        self.health.ready["kafka"] = self._kafka_ready
        _, _, app = self.http[0]
        app.include_router(self.health.router())

    async def _kafka_ready(self) -> str | None:
        return None if await self.kafka.ping() else "Kafka does not answer"


def _total(lag: Callable[[], Awaitable[dict[Any, int]]]) -> Callable[[], Awaitable[int]]:
    async def total() -> int:
        return sum((await lag()).values())

    return total


def _failure(task: "asyncio.Future[Any]") -> BaseException | None:
    return None if task.cancelled() else task.exception()


class _Server(uvicorn.Server):
    """Signals are the service's, not the HTTP server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving(host: str, port: int, app: FastAPI) -> AsyncIterator["asyncio.Task[None]"]:
    config = uvicorn.Config(
        app, host=host, port=port, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=int(REQUESTS_DRAIN.total_seconds()), server_header=False
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(), name=f"http {port}")
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    if task.done():
        raise OSError(f"cannot listen on {host}:{port}; is something else there?")
    try:
        yield task
    finally:
        server.should_exit = True
        await task


def run(build: Callable[[], Awaitable[Service]]) -> None:
    """The whole life of a service's process, from `build` to its exit status."""

    async def main() -> None:
        service = await build()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, service.stopping.set)
        await service.run()

    import uvloop

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except Exception:
        log.exception("stopped by an error")
        sys.exit(1)
