"""Runs a service: its HTTP servers, background loops and consumers, until SIGTERM.

SIGTERM drains: no new requests, the batches in flight finish and commit, loops end at their next step,
all within 10 s. A loop, a consumer or an HTTP server that ends before (it raises, returns or is cancelled)
stops the process with status 1; its supervisor starts a new one.
"""

import asyncio
import contextlib
import functools
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .aiokafka_patches import patch_aiokafka
from .broker import KafkaClient
from .clock import Clock
from .errors import MisconfiguredError
from .http_server import HttpInterface, Server, listen, raise_open_files_limit
from .lag import ConsumerLag
from .problems import problem_response, use_problem_details
from .provision import check
from .retry import OutageLog, retry_until_available
from .store_wait import with_bounded_store_wait
from .tasks import error_of_end
from .telemetry import HEALTH_PATHS, Health
from .topics import TOPICS, Topic
from .version import VERSION

log = logging.getLogger(__name__)

DRAIN_TIMEOUT = timedelta(seconds=6)
"""Loops, requests and batches that still run after this time are cancelled. With Kafka's stop timeout the
process ends within 10 s."""
CANCEL_TIMEOUT = timedelta(seconds=1)
"""Cancelled tasks that still run after this time are abandoned."""
KAFKA_CHECK_INTERVAL = timedelta(seconds=2)
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
VERSION_HEADER = "Auto-Capture-Version"


class StopSignal:
    """Set when the service must stop. Loops test it, or sleep on it."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Stops the service."""
        self._event.set()

    async def wait(self) -> None:
        """Waits until the service stops."""
        await self._event.wait()

    async def sleep(self, time: timedelta) -> None:
        """Waits until the time is over or the service stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), time.total_seconds())


BackgroundLoop = Callable[[StopSignal], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class Service:
    """The parts of a service; `create_app` of each service builds one.

    Attributes:
        http: the HTTP interfaces. The first one also has health, metrics and status.
            Until everything is connected the other paths answer 503.
        loops: name -> a coroutine function that runs until the stop signal.
        resources: an async context manager around everything else: connections to stores and the like.
    """

    name: str
    kafka: KafkaClient
    clock: Clock
    health: Health = field(default_factory=Health)
    http: list[HttpInterface] = field(default_factory=list)
    loops: dict[str, BackgroundLoop] = field(default_factory=dict)
    resources: Callable[[], contextlib.AbstractAsyncContextManager[Any]] | None = None
    stop_signal: StopSignal = field(default_factory=StopSignal)
    started: bool = field(default=False, init=False)
    failure: BaseException | None = field(default=None, init=False)

    async def run(self) -> None:
        """Runs until the stop signal or a failure; raises the error of what failed."""
        self._register_health()
        self.kafka.failed.add_done_callback(self._on_end)
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(self._serving(interface)) for interface in self.http]
            await self._start(stack)
            loops = self._start_loops() if self.started else []
            try:
                await self.stop_signal.wait()
            finally:
                self.stop_signal.set()
                await self._drain(servers, loops)
        if self.failure:
            raise self.failure
        for task in (self.kafka.failed, *loops):
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    def _on_end(self, task: "asyncio.Future[Any]") -> None:
        """Stops the service when a task ends before the stop signal: that is an error."""
        if not self.stop_signal:
            self.failure = error_of_end(task)
            self.stop_signal.set()

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        """Connects everything; the stop signal interrupts it at any point."""
        async with _interrupted_by(self.stop_signal):
            if self.resources:
                await stack.enter_async_context(self.resources())
            await retry_until_available(self._connect, OutageLog(log, "waiting for Kafka"))
            self.started = True
            log.info("service started", extra={"service": self.name, "version": VERSION})

    async def _connect(self) -> None:
        used = self._used_topics()
        await check(self.kafka.settings, [topic for topic in TOPICS if topic in used])
        await self.kafka.start()

    def _used_topics(self) -> set[Topic[Any, Any]]:
        """The topics that this service writes or reads."""
        declared = {topic for topic in TOPICS if self.name == topic.writer or self.name in topic.readers}
        return declared | {consumer.topic for consumer in self.kafka.consumers}

    def _start_loops(self) -> list["asyncio.Task[None]"]:
        loops = self.loops | {"kafka": self._check_kafka}
        tasks = [asyncio.create_task(loop(self.stop_signal), name=name) for name, loop in loops.items()]
        for task in tasks:
            task.add_done_callback(self._on_end)
        return tasks

    async def _drain(self, servers: list[Server], loops: list["asyncio.Task[None]"]) -> None:
        for server in servers:
            server.should_exit = True
        busy = {server.task for server in servers} | {asyncio.create_task(self.kafka.drain()), *loops}
        _, late = await asyncio.wait(busy, timeout=DRAIN_TIMEOUT.total_seconds())
        for task in late:
            log.warning("task exceeded the drain timeout, cancelling it", extra={"task": task.get_name()})
            task.cancel()
        await asyncio.wait(busy, timeout=CANCEL_TIMEOUT.total_seconds())
        await self.kafka.stop()

    async def _check_kafka(self, stop_signal: StopSignal) -> None:
        while not stop_signal:
            await self.kafka.check()
            await stop_signal.sleep(KAFKA_CHECK_INTERVAL)

    def _register_health(self) -> None:
        for consumer in self.kafka.consumers:
            name, lag = consumer.topic.name, ConsumerLag(consumer)
            self.health.liveness[f"consumes {name}"] = functools.partial(self.kafka.idle_seconds, consumer)
            self.health.status[f"{name} lag"] = lag.total
            self.health.gauge_updaters.append(lag.update_gauges)
        for name, age in self.health.liveness.items():
            self.health.liveness[name] = functools.partial(_age_without_outage, self.kafka, age)
        self.health.liveness["reaches Kafka"] = self.kafka.lost_seconds
        self.health.readiness["kafka"] = self._kafka_ready
        self.health.readiness["instance"] = self._instance_ready
        self.health.is_stopping = lambda: bool(self.stop_signal)
        self.health.add_routes(self.http[0].app)

    async def _kafka_ready(self) -> str | None:
        if not self.started:
            return "starting"
        return None if await self.kafka.ping() else "Kafka does not answer"

    async def _instance_ready(self) -> str | None:
        if any(consumer.has_twin for consumer in self.kafka.consumers):
            return "another process has the same INSTANCE"
        return None

    @contextlib.asynccontextmanager
    async def _serving(self, interface: HttpInterface) -> AsyncIterator[Server]:
        use_problem_details(interface.app)
        listening = listen(interface.host, interface.port)
        app = with_bounded_store_wait(_with_version_header(interface.app))
        app = _with_start_gate(lambda: self.started, app)
        server = Server(app, interface.name, interface.limits)
        bound_port = listening.getsockname()[1]
        server.task = asyncio.create_task(server.serve([listening]), name=f"http {bound_port}")
        server.task.add_done_callback(self._on_end)
        log.info("listening", extra={"host": interface.host, "port": bound_port})
        try:
            yield server
        finally:
            server.should_exit = True
            await asyncio.wait({server.task})


def _age_without_outage(kafka: KafkaClient, age: Callable[[], float]) -> float:
    """The age of a loop that may wait for Kafka: an outage makes none unalive."""
    return kafka.seconds_available(age())


def _with_start_gate(started: Callable[[], bool], app: ASGIApp) -> ASGIApp:
    """Answers 503 to all but the health paths until the service has started."""

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not started() and scope["path"] not in HEALTH_PATHS:
            starting = problem_response(
                503, "starting", "the service is starting", headers={"Retry-After": "1"}
            )
            await starting(scope, receive, send)
        else:
            await app(scope, receive, send)

    return gate


def _with_version_header(app: ASGIApp) -> ASGIApp:
    """Adds the version to each response."""

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[VERSION_HEADER] = VERSION
            await send(message)

        await app(scope, receive, send_with_version)

    return handle


@contextlib.asynccontextmanager
async def _interrupted_by(stop_signal: StopSignal) -> AsyncIterator[None]:
    """Leaves the block at its next await when the service must stop."""
    limit = asyncio.timeout(None)

    async def interrupt() -> None:
        await stop_signal.wait()
        limit.reschedule(0)

    try:
        async with limit:
            interrupting = asyncio.create_task(interrupt())
            try:
                yield
            finally:
                interrupting.cancel()
    except TimeoutError:
        if not limit.expired():
            raise


def run(build: Callable[[], Awaitable[Service]]) -> None:
    """Runs a service's process: from `build` to its exit status.

    The status is 0 after a stop signal, 2 when the service refuses to start, else 1. A stop signal counts
    from the first statement to the end of the process.
    """
    stop_requested = _StopRequest()
    for number in STOP_SIGNALS:
        signal.signal(number, stop_requested.set)
    import uvloop

    patch_aiokafka()
    raise_open_files_limit()

    async def main() -> None:
        service = await build()
        stop_requested.forward_to(service.stop_signal)
        await service.run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except MisconfiguredError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except Exception:
        log.exception("service failed, stopping")
        sys.exit(1)
    finally:
        for number in STOP_SIGNALS:  # a handler in Python would end before the process does
            signal.signal(number, signal.SIG_IGN)


class _StopRequest:
    """Takes the process's stop signals, before, while and after its service runs."""

    def __init__(self) -> None:
        self._requested = False
        self._forward: Callable[[], object] = lambda: None

    def set(self, *_signal: object) -> None:
        """The handler of the system's signals."""
        self._requested = True
        self._forward()

    def forward_to(self, stop_signal: StopSignal) -> None:
        """Sets the service's stop signal at each request, and at once after an earlier one."""
        loop = asyncio.get_running_loop()
        self._forward = lambda: loop.is_closed() or loop.call_soon_threadsafe(stop_signal.set)
        if self._requested:
            stop_signal.set()
