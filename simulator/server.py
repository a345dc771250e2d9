"""A simulator that listens: in this thread until it is told to stop, or in one of its own."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn

from simulator.control.client import Simulator
from simulator.entra.signing_keys import KeyRing
from simulator.state.world import Clock, World, system_clock

from . import certificates
from .app import create_app
from .settings import Settings

log = logging.getLogger(__name__)

KEEP_ALIVE = 75
"""Seconds that an idle connection stays open, longer than its clients keep it."""

STARTS_WITHIN = 20.0
ANSWERS_WITHIN = 2.0


class Server(uvicorn.Server):
    """Ends as soon as it has answered: a client's idle TLS connection would hold it for seconds.

    Args:
        beside: what listens as long as it does.
    """

    def __init__(self, config: uvicorn.Config, beside: uvicorn.Config | None = None) -> None:
        super().__init__(config)
        self._beside = _Beside(beside) if beside else None
        self._serving: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._beside:
            self._serving = asyncio.create_task(self._beside.serve())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=ANSWERS_WITHIN)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)
        if self._beside and self._serving:
            self._beside.should_exit = True
            await self._serving


class _Beside(uvicorn.Server):
    """Signals are the first server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def build(settings: Settings, clock: Clock = system_clock) -> tuple[World, uvicorn.Config]:
    """A world as the settings have it, and what to run for it."""
    files = certificates.keep(settings.folder)
    world = World(settings.base_url, clock=clock, seed=settings.seed, redirects=settings.redirects)
    if settings.tenant:
        world.add_tenant(settings.tenant)
    app = create_app(
        world,
        keys=KeyRing.from_pem(files.signing.read_bytes()),
        tls=certificates.client_context(files.ca),
        record=settings.record,
        latency=settings.latency,
        retry_base=settings.retry_base,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        ssl_keyfile=str(files.server),
        ssl_certfile=str(files.server),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=3,
        lifespan="on",
    )
    return world, config


def run(settings: Settings) -> None:
    """Listen until SIGTERM or SIGINT."""
    _, config = build(settings)
    log.info("simulator on %s, CA in %s", settings.base_url, settings.folder / "ca.pem")
    Server(config, for_browsers(settings, config)).run()


def for_browsers(settings: Settings, config: uvicorn.Config) -> uvicorn.Config | None:
    """What listens for browsers, if anything: on the local host alone, for it is not encrypted and asks nobody who he is."""
    if settings.browser_port is None:
        return None
    app = config.app.state.browser  # type: ignore[union-attr]  # made by build
    return uvicorn.Config(
        app,
        host="127.0.0.1",
        port=settings.browser_port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=3,
        lifespan="off",
    )


class Running:
    """A simulator in a thread of this process."""

    def __init__(self, world: World, client: Simulator, ca: Path) -> None:
        self.world = world
        self.client = client
        self.ca = ca

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.world.base_url


@contextmanager
def running(folder: Path, **changes: object) -> Iterator[Running]:
    """A simulator on a free port for the time of a `with`; `changes` are other settings."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    settings = Settings(folder=folder, port=port, latency=0.0, retry_base=0.1)
    world, config = build(replace(settings, **changes))  # type: ignore[arg-type]
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + STARTS_WITHIN
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the simulator did not start")
        time.sleep(0.01)
    ca = folder / "ca.pem"
    client = Simulator(world.base_url, ca)
    try:
        yield Running(world, client, ca)
    finally:
        client.close()
        server.should_exit = True
        thread.join(STARTS_WITHIN)
        listener.close()
