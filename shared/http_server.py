"""The HTTP servers of a service: uvicorn, with the bounds of `http_guard.py`."""

import asyncio
import contextlib
import functools
import resource
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from .http_guard import ConnectionGuard, GuardedProtocol, with_whole_requests
from .http_limits import HttpLimits

REQUEST_DRAIN_TIMEOUT = timedelta(seconds=3)
"""Open requests and streams are closed after this time."""
BACKLOG = 2048
"""Connections that the system accepts before this process does."""


@dataclass(frozen=True, slots=True)
class HttpInterface:
    """One port of a service.

    Attributes:
        name: in the metrics.
        limits: what strangers may use of it.
    """

    name: str
    host: str
    port: int
    app: FastAPI
    limits: HttpLimits


class Server(uvicorn.Server):
    """An HTTP server that leaves signals to the service.

    Args:
        app: what it serves.
        name: of the interface, in the metrics.
        limits: of the interface.
    """

    task: "asyncio.Task[None]"

    def __init__(self, app: ASGIApp, name: str, limits: HttpLimits) -> None:
        protocol = functools.partial(GuardedProtocol, ConnectionGuard(name, limits))
        super().__init__(
            uvicorn.Config(
                with_whole_requests(app),
                http=cast("type[Any]", protocol),  # uvicorn only calls it
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(REQUEST_DRAIN_TIMEOUT.total_seconds()),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the service's."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; an OSError names the address."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG
        )
    except OSError as error:
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def raise_open_files_limit() -> None:
    """Lets this process open as many files as the system permits: each connection is one.

    Where connections used up all files, the clients of Kafka and MongoDB could not connect again.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # some systems permit less than they report
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
