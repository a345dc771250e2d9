"""A simulator under Microsoft's own host names, and the programs that use the official clients with it."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from simulator.control.client import Simulator, TenantControl
from simulator.server import Running, running
from simulator.state.tenants import CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET
from tests.clients.contoso import ANN, BOB
from tests.clients.installation import (
    ROOT,
    NodeMissingError,
    Progress,
    javascript_environment,
    python_environment,
)
from tests.clients.program import Program
from tests.clients.proxy import Proxy, running_proxy
from tests.simulator.conftest import webhook  # noqa: F401 - a fixture of these tests, too

PROGRAMS = Path(__file__).with_name("programs")

Start = Callable[[list[str]], Program]
"""Starts a command with the environment of a client, for the tenant of the test."""


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the recorded responses of all tests of this directory."""
    return tmp_path_factory.mktemp("recorded")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, recordings: Path) -> Iterator[Running]:
    """Its links and issuers have Graph's name, as those of Graph."""
    folder = tmp_path_factory.mktemp("simulator")
    with running(folder, url="https://graph.microsoft.com", record=recordings) as server:
        yield server


@pytest.fixture(scope="session")
def proxy(server: Running) -> Iterator[Proxy]:
    """A proxy to this simulator; no client may have tried to reach anything else."""
    address = urlsplit(server.client.url)
    with running_proxy((address.hostname or "", address.port or 0)) as proxy:
        yield proxy
        assert proxy.refused == []


@pytest.fixture
def simulator(server: Running) -> Iterator[Simulator]:
    server.client.reset_counters()
    yield server.client
    server.client.clear_faults()
    server.client.forget_subscriptions()


@pytest.fixture
def tenant(simulator: Simulator) -> TenantControl:
    """A tenant with the two users Ann and Bob."""
    tenant = simulator.tenant(name="Contoso", domain="contoso.example")
    tenant.user(ANN, name="Ann Lee")
    tenant.user(BOB, name="Bob Ray")
    return tenant


@pytest.fixture
def start(server: Running, tenant: TenantControl, proxy: Proxy, tmp_path: Path) -> Iterator[Start]:
    """Starts programs; they end with the test."""
    ca = str(server.ca)
    environment: Mapping[str, str] = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "HTTPS_PROXY": proxy.url,
        "SSL_CERT_FILE": ca,
        "REQUESTS_CA_BUNDLE": ca,
        "NODE_EXTRA_CA_CERTS": ca,
        "AZURE_TENANT_ID": tenant.id,
        "AZURE_CLIENT_ID": CAPTURE_CLIENT_ID,
        "AZURE_CLIENT_SECRET": CAPTURE_CLIENT_SECRET,
    }
    with ExitStack() as programs:
        yield lambda command: programs.enter_context(Program(command, environment, tmp_path))


@pytest.fixture(scope="session")
def show_progress(pytestconfig: pytest.Config) -> Progress:
    """Writes a line to the terminal while a test runs."""
    capture = pytestconfig.pluginmanager.get_plugin("capturemanager")
    reporter = pytestconfig.pluginmanager.get_plugin("terminalreporter")

    def write(line: str) -> None:
        if capture and reporter:
            with capture.global_and_fixture_disabled():
                reporter.write_line(line)

    return write


@pytest.fixture(scope="session")
def client_python(show_progress: Progress) -> str:
    """The Python of the environment with the official clients."""
    return str(python_environment(show_progress))


@pytest.fixture
def msgraph(client_python: str, start: Start) -> Program:
    """msgraph-sdk with azure-identity."""
    return start([client_python, str(PROGRAMS / "msgraph_client.py")])


@pytest.fixture
def o365(client_python: str, start: Start) -> Program:
    """O365, a client that is not Microsoft's."""
    return start([client_python, str(PROGRAMS / "o365_client.py")])


@pytest.fixture(scope="session")
def node_folder(show_progress: Progress) -> Path:
    """The folder of the JavaScript programs; without Node its tests are skipped, with the reason."""
    try:
        return javascript_environment(show_progress)
    except NodeMissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def javascript(node_folder: Path, start: Start) -> Program:
    """@microsoft/microsoft-graph-client with @azure/identity."""
    command = ["node", "--import", str(node_folder / "proxy.mjs"), str(node_folder / "graph_client.mjs")]
    return start(command)
