"""Settings of the simulator's process, from environment variables."""

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .state.tenants import RedirectUri

PREFIX = "SIMULATOR_"
TENANT = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a00"

DEFAULT_REDIRECTS = (
    RedirectUri("http://localhost/", "spa"),
    RedirectUri("http://127.0.0.1/", "spa"),
)
"""Redirect URIs without a setting; the port of a loopback URI is not compared."""

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")

KUBERNETES_NAMES = re.compile(r"SIMULATOR_(PORT|SERVICE)(_|$)")
"""Variables that Kubernetes adds for a service with the name `simulator`; they are no settings."""


@dataclass(frozen=True, slots=True)
class Address:
    """A listening address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `HOST:PORT`; an IPv6 host is in brackets.

        Raises:
            ValueError: the text has another form.
        """
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or not int(port) < 2**16:
            raise ValueError(f"a listening address is HOST:PORT, such as 127.0.0.1:18443, not {text!r}")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a simulator.

    Attributes:
        folder: `SIMULATOR_DIR`: the folder of the CA, the certificate and the keys.
        listen: `SIMULATOR_LISTEN`: `host:port` of Graph, authority and control interface, over TLS.
        browser_listen: `SIMULATOR_BROWSER_LISTEN`: `host:port` of the sign-in and the control page for
            browsers, which do not trust the CA; plain http, so the host is a loopback address; None: off.
        url: `SIMULATOR_URL`: the URL for clients, by default `https://localhost:PORT`; issuers and links
            begin with it.
        tenant: `SIMULATOR_TENANT_ID`: the tenant that exists from the start; empty for none.
        redirects: `SIMULATOR_REDIRECT_URIS`: redirect URIs of the API registration, separated by commas,
            each with the prefix `web:`, `spa:` or `public:`; without a prefix it is `spa`.
        record: `SIMULATOR_RECORD`: the folder of the recorded Graph responses; None: off.
        latency: `SIMULATOR_LATENCY_MS`: the time that each request to a mailbox takes, here in seconds.
        retry_base: `SIMULATOR_RETRY_SECONDS`: the delay before the first retry of a notification.
        seed: `SIMULATOR_SEED`: makes ids and faults repeatable.
    """

    folder: Path = Path(".local/simulator")
    listen: Address = Address("127.0.0.1", 18443)
    browser_listen: Address | None = None
    url: str = ""
    tenant: str = TENANT
    redirects: tuple[RedirectUri, ...] = DEFAULT_REDIRECTS
    record: Path | None = None
    latency: float = 0.005
    retry_base: float = 5.0
    seed: int | None = None

    @property
    def base_url(self) -> str:
        """The URL for clients."""
        return self.url or f"https://localhost:{self.listen.port}"


NAMES = frozenset(
    PREFIX + name
    for name in (
        "DIR",
        "LISTEN",
        "BROWSER_LISTEN",
        "URL",
        "TENANT_ID",
        "REDIRECT_URIS",
        "RECORD",
        "LATENCY_MS",
        "RETRY_SECONDS",
        "SEED",
    )
)


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from the environment.

    Raises:
        ValueError: a setting has an invalid value, or its name is unknown; the message has its name.
    """
    names = [name for name in env if name.startswith(PREFIX) and not KUBERNETES_NAMES.match(name)]
    for name in names:
        if name not in NAMES:
            similar = difflib.get_close_matches(name, NAMES, 1)
            raise ValueError(f"{name} is no setting" + (f"; did you mean {similar[0]}?" if similar else ""))
    values = {name: env[name] for name in names if env[name]}
    defaults = Settings()
    uris = [each.strip() for each in values.get("SIMULATOR_REDIRECT_URIS", "").split(",") if each.strip()]
    seed = values.get("SIMULATOR_SEED")
    record = values.get("SIMULATOR_RECORD")
    return Settings(
        folder=Path(values.get("SIMULATOR_DIR", defaults.folder)),
        listen=_address(values, "SIMULATOR_LISTEN") or defaults.listen,
        browser_listen=_loopback_address(values, "SIMULATOR_BROWSER_LISTEN"),
        url=values.get("SIMULATOR_URL", ""),
        tenant=env.get("SIMULATOR_TENANT_ID", TENANT),
        redirects=tuple(map(RedirectUri.parse, uris)) or DEFAULT_REDIRECTS,
        record=Path(record) if record else None,
        latency=_number(values, "SIMULATOR_LATENCY_MS", 5) / 1000,
        retry_base=_number(values, "SIMULATOR_RETRY_SECONDS", 5),
        seed=int(_number(values, "SIMULATOR_SEED", 0)) if seed else None,
    )


def _number(values: Mapping[str, str], name: str, default: float) -> float:
    try:
        return float(values.get(name, default))
    except ValueError as error:
        raise ValueError(f"{name} must be a number, not {values[name]!r}") from error


def _address(values: Mapping[str, str], name: str) -> Address | None:
    try:
        return Address.parse(values[name]) if name in values else None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _loopback_address(values: Mapping[str, str], name: str) -> Address | None:
    address = _address(values, name)
    if address is not None and address.host not in LOOPBACK_HOSTS:
        hosts = ", ".join(LOOPBACK_HOSTS)
        raise ValueError(f"{name}: the endpoint for browsers is plain http, so the host is one of {hosts}")
    return address
