"""Settings of the simulator from environment variables."""

import re

import pytest

from simulator.settings import NAMES, Address, Settings, from_environment


def test_listening_addresses_are_host_and_port() -> None:
    settings = from_environment(
        {"SIMULATOR_LISTEN": "0.0.0.0:18500", "SIMULATOR_BROWSER_LISTEN": "[::1]:18501"}
    )
    assert (settings.listen, settings.browser_listen) == (Address("0.0.0.0", 18500), Address("::1", 18501))
    assert settings.base_url == "https://localhost:18500"


@pytest.mark.parametrize("value", ["18443", ":18443", "localhost:", "localhost:http", "localhost:70000"])
def test_malformed_listening_address_is_rejected(value: str) -> None:
    with pytest.raises(ValueError, match="SIMULATOR_LISTEN: a listening address is HOST:PORT"):
        from_environment({"SIMULATOR_LISTEN": value})


def test_endpoint_for_browsers_listens_on_loopback_only() -> None:
    with pytest.raises(ValueError, match="SIMULATOR_BROWSER_LISTEN"):
        from_environment({"SIMULATOR_BROWSER_LISTEN": "0.0.0.0:18444"})


def test_unknown_setting_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(ValueError, match="SIMULATOR_LISTENS is no setting; did you mean SIMULATOR_LISTEN"):
        from_environment({"SIMULATOR_LISTENS": "127.0.0.1:18443"})


def test_variables_of_kubernetes_are_no_settings() -> None:
    names = ("PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_18443_TCP_ADDR")
    assert from_environment({f"SIMULATOR_{name}": "tcp://10.0.0.1:18443" for name in names}) == Settings()


def test_every_setting_is_documented() -> None:
    assert set(re.findall(r"`(SIMULATOR_\w+)`", Settings.__doc__ or "")) == NAMES
