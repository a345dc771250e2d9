"""One simulator for all tests, a tenant for each."""

import contextlib
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
import orjson
import pytest

from simulator.control.client import Simulator, TenantControl
from simulator.server import Running, running

CHECKER = os.environ.get("GRAPH_CSDL_CHECK")
collect_ignore = [] if CHECKER else ["test_csdl.py"]
"""The schema checker is not part of the project; these tests need it."""

IMMUTABLE = 'IdType="ImmutableId"'
"""The preference for ids that survive a move."""


def quoted(item: str) -> str:
    """An id as a segment of a path; it may have a `/`."""
    return quote(item, safe="")


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.01)


@dataclass
class Webhook:
    """A notification URL that stores notifications, with configurable responses."""

    url: str = ""
    returns_token: bool = True
    statuses: list[int] = field(default_factory=list)
    posts: list[list[dict[str, Any]]] = field(default_factory=list)
    handshakes: list[str] = field(default_factory=list)
    pause: float = 0.0

    @property
    def notifications(self) -> list[dict[str, Any]]:
        return [each for post in self.posts for each in post]

    def ids(self, change: str) -> list[str]:
        """Ids of the created, updated or deleted items."""
        return [n["resourceData"]["id"] for n in self.notifications if n.get("changeType") == change]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            token = parse_qs(urlsplit(self.path).query).get("validationToken")
            if token:
                hook.handshakes.append(self.path)
                self.respond(200, token[0].encode() if hook.returns_token else b"no")
                return
            time.sleep(hook.pause)
            status = hook.statuses.pop(0) if hook.statuses else 202
            if status == 202:
                hook.posts.append(orjson.loads(body)["value"])
            self.respond(status, b"")

        def respond(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            with contextlib.suppress(ConnectionError):  # the simulator may have given up
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/hook?from=graph"
    yield hook
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the recorded Graph responses of all tests."""
    return Path(os.environ.get("SIMULATOR_RECORD") or tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("simulator"), record=recordings) as server:
        yield server


@pytest.fixture
def simulator(server: Running) -> Iterator[Simulator]:
    yield server.client
    server.client.clear_faults()
    server.client.limits(max_concurrent=4, max_in_window=10_000, latency=0.0, retry_base=0.1, max_writes=1000)
    server.client.delivery_rules()
    server.client.forget_subscriptions()


@pytest.fixture
def tenant(simulator: Simulator) -> TenantControl:
    tenant = simulator.tenant(name="Contoso", domain="contoso.example")
    tenant.user("ann@contoso.example", name="Ann Lee")
    tenant.user("bob@contoso.example", name="Bob Ray")
    return tenant


class Graph:
    """A client of Graph with the token of an application."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http

    def get(self, path: str, status: int = 200, *, prefer: str = "") -> Any:
        response = self.http.get(f"/v1.0/{path}", headers={"prefer": prefer})
        assert response.status_code == status, response.text
        return response.json()

    def send(self, method: str, path: str, body: Any = None, status: int = 200, *, prefer: str = "") -> Any:
        response = self.http.request(method, f"/v1.0/{path}", json=body, headers={"prefer": prefer})
        assert response.status_code == status, response.text
        return response.json() if response.content else None


@pytest.fixture
def connect(server: Running) -> Iterator[Callable[..., Graph]]:
    """Creates a Graph client with a given token."""
    context = ssl.create_default_context(cafile=str(server.ca))
    clients: list[httpx2.Client] = []

    def create(token: str) -> Graph:
        client = httpx2.Client(
            base_url=server.url, verify=context, trust_env=False, headers={"authorization": f"Bearer {token}"}
        )
        clients.append(client)
        return Graph(client)

    yield create
    for client in clients:
        client.close()


@pytest.fixture
def graph(tenant: TenantControl, connect: Callable[..., Graph]) -> Graph:
    """A client with a token of the application of mail-ingest."""
    return connect(tenant.app_token())
