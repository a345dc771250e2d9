"""One simulator for all tests, a tenant for each."""

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import orjson
import pytest

from simulator.control.client import Simulator, TenantControl
from simulator.server import Running, running

CHECKER = os.environ.get("GRAPH_CSDL_CHECK")
collect_ignore = [] if CHECKER else ["test_csdl.py"]
"""The schema's checker is not part of the project; without it there is nothing to run."""

IMMUTABLE = 'IdType="ImmutableId"'
"""The preference for ids that outlive a move."""


def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@dataclass
class Webhook:
    """A notification URL: it proves itself, keeps what it gets, and answers as it is told."""

    url: str = ""
    proves_itself: bool = True
    statuses: list[int] = field(default_factory=list)
    posts: list[list[dict[str, Any]]] = field(default_factory=list)
    handshakes: list[str] = field(default_factory=list)
    pause: float = 0.0

    @property
    def notifications(self) -> list[dict[str, Any]]:
        return [each for post in self.posts for each in post]

    def of(self, change: str) -> list[str]:
        """Ids of what was created, updated or deleted."""
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
                self.answer(200, token[0].encode() if hook.proves_itself else b"no")
                return
            time.sleep(hook.pause)
            status = hook.statuses.pop(0) if hook.statuses else 202
            if status == 202:
                hook.posts.append(orjson.loads(body)["value"])
            self.answer(status, b"")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
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
def recorded_answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where every Graph answer of all tests goes."""
    return Path(os.environ.get("SIMULATOR_RECORD") or tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, recorded_answers: Path) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("simulator"), record=recorded_answers) as made:
        yield made


@pytest.fixture
def simulator(server: Running) -> Iterator[Simulator]:
    yield server.client
    server.client.clear_faults()
    server.client.limits(at_once=4, in_window=10_000, latency=0.0, retry_base=0.1)
    server.client.forget_subscriptions()


@pytest.fixture
def tenant(simulator: Simulator) -> TenantControl:
    made = simulator.tenant(name="Contoso", domain="contoso.example")
    made.user("ann@contoso.example", name="Ann Lee")
    made.user("bob@contoso.example", name="Bob Ray")
    return made


class Graph:
    """Graph as an application sees it."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http

    def get(self, path: str, status: int = 200, *, prefer: str = "") -> Any:
        answer = self.http.get(f"/v1.0/{path}", headers={"prefer": prefer})
        assert answer.status_code == status, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None, status: int = 200, *, prefer: str = "") -> Any:
        answer = self.http.request(method, f"/v1.0/{path}", json=body, headers={"prefer": prefer})
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None


@pytest.fixture
def connect(server: Running) -> Iterator[Callable[..., Graph]]:
    """Makes a Graph client with a token of one's choice."""
    context = ssl.create_default_context(cafile=str(server.ca))
    clients: list[httpx2.Client] = []

    def make(token: str) -> Graph:
        client = httpx2.Client(
            base_url=server.url, verify=context, trust_env=False, headers={"authorization": f"Bearer {token}"}
        )
        clients.append(client)
        return Graph(client)

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def graph(tenant: TenantControl, connect: Callable[..., Graph]) -> Graph:
    """Graph with the capture application's own token."""
    return connect(tenant.app_token())
