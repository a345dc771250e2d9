"""The application's tokens, from each tenant's sign-in authority; nothing else here knows msal."""

import asyncio
import functools
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msal
import requests

from .domain.standing import CONDITIONAL_ACCESS
from .errors import Blocked, Unavailable
from .settings import IngestSettings

TIMEOUT = timedelta(seconds=20)
TOKEN_MARGIN = timedelta(minutes=5)
"""A token is renewed so long before it ends."""

CONDITIONAL_ACCESS_CODES = {53000, 53001, 53002, 53003, 53004, 530032, 530034, 530035}
"""AADSTS codes of a token refused by a Conditional Access policy."""


class Tokens:
    """The application's tokens, one authority a tenant. msal blocks, so it runs in a thread."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._apps: dict[str, msal.ConfidentialClientApplication] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def of(self, tenant: str) -> str:
        """A token that is good for a while."""
        token, until = self._tokens.get(tenant, ("", 0.0))
        if time.monotonic() < until:
            return token
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            token, until = self._tokens.get(tenant, ("", 0.0))
            if time.monotonic() < until:
                return token
            return await self._acquire(tenant, None)

    async def refresh(self, tenant: str, stale: str, claims: str | None) -> None:
        """Replaces a token that Graph has refused, once for all who had it."""
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            if self._tokens.get(tenant, ("", 0.0))[0] == stale:
                await self._acquire(tenant, claims, anew=True)

    async def _acquire(self, tenant: str, claims: str | None, *, anew: bool = False) -> str:
        try:
            answer = await asyncio.to_thread(self._ask, tenant, claims, anew)
        except OSError as away:  # what requests raises
            raise Unavailable(f"the authority does not answer: {type(away).__name__}") from away
        except ValueError as unknown:  # what msal raises where the tenant has no metadata
            raise Blocked("unknown_tenant", tenant_wide=True) from unknown
        if "access_token" not in answer:
            self._apps.pop(tenant, None)  # msal would go on refusing by itself for a minute
            raise _token_refusal(answer)
        lifetime = float(answer.get("expires_in") or 0)
        self._tokens[tenant] = (
            answer["access_token"],
            time.monotonic() + max(lifetime - TOKEN_MARGIN.total_seconds(), lifetime / 2),
        )
        return str(answer["access_token"])

    def _ask(self, tenant: str, claims: str | None, anew: bool) -> dict[str, Any]:
        app = self._apps.get(tenant)
        if app is None:
            settings = self._settings
            app = self._apps[tenant] = msal.ConfidentialClientApplication(
                settings.client_id,
                authority=f"{str(settings.authority_url).rstrip('/')}/{tenant}",
                client_credential=self._credential(),
                instance_discovery=False,
                http_client=_session(settings.ca_file),
            )
        if anew:
            app.remove_tokens_for_client()
        return dict(app.acquire_token_for_client([self._settings.graph_scope], claims_challenge=claims))

    def _credential(self) -> str | dict[str, str]:
        if self._settings.client_certificate:
            pem = self._settings.client_certificate.read_text()
            return {"private_key": pem, "public_certificate": pem}
        return self._settings.client_secret.get_secret_value() if self._settings.client_secret else ""


class _OwnCa(requests.Session):
    """Trusts its own CA file also where REQUESTS_CA_BUNDLE is set, which requests would prefer to it."""

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        return {**super().merge_environment_settings(*args, **kwargs), "verify": self.verify}


def _session(ca_file: Path | None) -> requests.Session:
    """What msal makes its requests with."""
    session = _OwnCa() if ca_file else requests.Session()
    if ca_file:
        session.verify = str(ca_file)
    session.request = functools.partial(session.request, timeout=TIMEOUT.total_seconds())  # type: ignore[method-assign]  # as msal itself does
    return session


def _token_refusal(answer: Mapping[str, Any]) -> Exception:
    codes = set(answer.get("error_codes") or ())
    if answer.get("error") in {"temporarily_unavailable", "server_error"}:
        return Unavailable("the authority cannot answer now")
    if codes & CONDITIONAL_ACCESS_CODES or "Conditional Access" in str(answer.get("error_description")):
        return Blocked(CONDITIONAL_ACCESS, tenant_wide=True)
    if answer.get("error") == "invalid_client":
        return Blocked("credential_refused", tenant_wide=True)
    return Blocked("token_refused", tenant_wide=True)
