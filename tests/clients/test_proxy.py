"""The proxy reaches the simulator by Microsoft's names, and nothing else by any name; it needs no client."""

import ssl
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, build_opener

import pytest

from simulator.server import Running
from tests.clients.proxy import running_proxy


def opener(server: Running, proxy: str) -> OpenerDirector:
    context = ssl.create_default_context(cafile=str(server.ca))
    return build_opener(ProxyHandler({"https": proxy}), HTTPSHandler(context=context))


def test_names_of_microsoft_lead_to_the_simulator_and_no_other_name_does(server: Running) -> None:
    address = urlsplit(server.client.url)
    with running_proxy((address.hostname or "", address.port or 0)) as proxy:
        client = opener(server, proxy.url)
        for host in ("graph.microsoft.com", "login.microsoftonline.com"):
            with client.open(f"https://{host}/health/ready", timeout=10) as response:
                assert response.read() == b'{"status":"ready"}'
        with pytest.raises(URLError, match="403"):
            client.open(f"https://localhost:{address.port}/health/ready", timeout=10)
        assert proxy.refused == [f"localhost:{address.port}"]
