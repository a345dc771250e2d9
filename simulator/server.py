"""The simulator's server: in the main thread until a signal stops it, or in a thread of its own."""

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

from . import certificates
from .app import create_app
from .control.client import Simulator
from .entra.signing_keys import KeyRing
from .settings import Address, Settings
from .state.world import Clock, World, system_clock

log = logging.getLogger(__name__)

KEEP_ALIVE_TIMEOUT = 75
"""Seconds that an idle connection stays open, longer than its clients keep it."""

START_TIMEOUT = 20.0
DRAIN_TIMEOUT = 2.0
"""Seconds that requests in flight may still take after the stop of the server."""


class Server(uvicorn.Server):
    """A server that stops after its last response.

    uvicorn waits until clients close idle TLS connections, which takes seconds; this server aborts them.

    Args:
        companion: the configuration of a second server with the same lifetime.
    """

    def __init__(self, config: uvicorn.Config, companion: uvicorn.Config | None = None) -> None:
        super().__init__(config)
        self._companion = _CompanionServer(companion) if companion else None
        self._companion_task: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._companion:
            self._companion_task = asyncio.create_task(self._companion.serve())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks, timeout=DRAIN_TIMEOUT)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await super().shutdown(sockets)
        if self._companion and self._companion_task:
            self._companion.should_exit = True
            await self._companion_task


class _CompanionServer(uvicorn.Server):
    """A second server in the same process; the first one handles the signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def build(settings: Settings, clock: Clock = system_clock) -> tuple[World, uvicorn.Config]:
    """A world with the settings, and the configuration of its server."""
    files = certificates.ensure_files(settings.folder)
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
        host=settings.listen.host,
        port=settings.listen.port,
        log_level="warning",
        access_log=False,
        ssl_keyfile=str(files.server),
        ssl_certfile=str(files.server),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
        timeout_graceful_shutdown=3,
        lifespan="on",
    )
    return world, config


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    _, config = build(settings)
    log.info("simulator listens on %s, CA certificate in %s", settings.base_url, settings.folder / "ca.pem")
    Server(config, browser_config(settings, config)).run()


def browser_config(settings: Settings, config: uvicorn.Config) -> uvicorn.Config | None:
    """The configuration of the plain-http server for browsers; None without its setting.

    It listens on a loopback address only, because it has no encryption and no authentication.
    """
    if settings.browser_listen is None:
        return None
    app = config.app.state.browser  # type: ignore[union-attr]  # `build` sets it
    return uvicorn.Config(
        app,
        host=settings.browser_listen.host,
        port=settings.browser_listen.port,
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
        """The URL for clients."""
        return self.world.base_url


@contextmanager
def running(folder: Path, **changes: object) -> Iterator[Running]:
    """Run a simulator on a free port while the context is open; `changes` are other settings.

    Raises:
        RuntimeError: the simulator did not start within 20 s.
    """
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    address = Address(*listener.getsockname())
    settings = Settings(folder=folder, listen=address, latency=0.0, retry_base=0.1)
    world, config = build(replace(settings, **changes))  # type: ignore[arg-type]
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + START_TIMEOUT
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the simulator did not start")
        time.sleep(0.01)
    ca = folder / "ca.pem"
    client = Simulator(
        f"https://localhost:{address.port}", ca
    )  # the settings may name a URL for clients only
    try:
        yield Running(world, client, ca)
    finally:
        client.close()
        server.should_exit = True
        thread.join(START_TIMEOUT)
        listener.close()
