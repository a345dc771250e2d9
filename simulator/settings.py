"""Settings of a simulator that runs as a process of its own, from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from simulator.state.tenants import RedirectUri

TENANT = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a00"

RETURNS = (
    RedirectUri("http://localhost/", "spa"),
    RedirectUri("http://127.0.0.1/", "spa"),
)
"""Where a sign-in may return to when nothing is set; on the local host the port does not count."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run.

    Attributes:
        folder: `SIMULATOR_DIR`: CA, certificate and keys are kept here.
        port: `SIMULATOR_PORT`.
        browser_port: `SIMULATOR_BROWSER_PORT`: where browsers, which do not trust its CA, sign in and find
            the control page over plain http, on the local host alone; None: nowhere.
        host: `SIMULATOR_HOST`: the address to listen on.
        url: `SIMULATOR_URL`: where others reach it; issuers and links are made of it.
        tenant: `SIMULATOR_TENANT_ID`: the tenant that is there from the start; empty for none.
        redirects: `SIMULATOR_REDIRECT_URIS`: where sign-ins may return to, by commas, each
            with `web:`, `spa:` or `public:` before it if it is not a single-page application's.
        record: `SIMULATOR_RECORD`: a folder for every Graph answer, to be checked afterwards.
        latency: `SIMULATOR_LATENCY_MS`: how long a mailbox takes over a request.
        retry_base: `SIMULATOR_RETRY_SECONDS`: the pause before a notification's first retry.
        seed: `SIMULATOR_SEED`: makes ids and faults repeatable.
    """

    folder: Path = Path(".local/simulator")
    port: int = 18443
    browser_port: int | None = None
    host: str = "127.0.0.1"
    url: str = ""
    tenant: str = TENANT
    redirects: tuple[RedirectUri, ...] = field(default=RETURNS)
    record: Path | None = None
    latency: float = 0.005
    retry_base: float = 5.0
    seed: int | None = None

    @property
    def base_url(self) -> str:
        """Where others reach it."""
        return self.url or f"https://localhost:{self.port}"


def from_environment(env: Mapping[str, str] = os.environ) -> Settings:
    """The settings that the environment has; ValueError names the one that is wrong."""
    given = {k.removeprefix("SIMULATOR_"): v for k, v in env.items() if k.startswith("SIMULATOR_")}

    def number(name: str, default: float) -> float:
        try:
            return float(given.get(name) or default)
        except ValueError as error:
            raise ValueError(f"SIMULATOR_{name} must be a number, not {given[name]!r}") from error

    uris = [each.strip() for each in given.get("REDIRECT_URIS", "").split(",") if each.strip()]
    return Settings(
        folder=Path(given.get("DIR") or ".local/simulator"),
        port=int(number("PORT", 18443)),
        browser_port=int(number("BROWSER_PORT", 0)) if given.get("BROWSER_PORT") else None,
        host=given.get("HOST") or "127.0.0.1",
        url=given.get("URL", ""),
        tenant=given.get("TENANT_ID", TENANT),
        redirects=tuple(map(redirect_uri, uris)) or RETURNS,
        record=Path(given["RECORD"]) if given.get("RECORD") else None,
        latency=number("LATENCY_MS", 5) / 1000,
        retry_base=number("RETRY_SECONDS", 5),
        seed=int(number("SEED", 0)) if given.get("SEED") else None,
    )


def redirect_uri(text: str) -> RedirectUri:
    """`http://…` is a single-page application's; `web:http://…` is as it says."""
    kind, _, uri = text.partition(":")
    return RedirectUri(uri, kind) if kind in ("web", "spa", "public") else RedirectUri(text)
