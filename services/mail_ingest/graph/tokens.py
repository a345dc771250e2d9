"""The application's access tokens, from the sign-in authority of each tenant. Only this module uses msal."""

import asyncio
import functools
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msal
import requests

from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.settings import IngestSettings

from .errors import GraphUnavailableError, MailboxBlockedError

AUTHORITY_TIMEOUT = timedelta(seconds=20)
TOKEN_MARGIN = timedelta(minutes=5)
"""A token is renewed this long before it expires."""

CONDITIONAL_ACCESS_CODES = {53000, 53001, 53002, 53003, 53004, 530032, 530034, 530035}
"""AADSTS codes of a token that a Conditional Access policy refuses."""


class TokenSource:
    """The application's tokens, with one authority for each tenant. msal blocks, so it runs in a thread."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._apps: dict[str, msal.ConfidentialClientApplication] = {}
        self._tokens: dict[str, tuple[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, tenant: str) -> str:
        """A token that stays valid for a while.

        Raises:
            GraphUnavailableError: the authority does not answer.
            MailboxBlockedError: the authority refuses the tenant.
        """
        token, until = self._tokens.get(tenant, ("", 0.0))
        if time.monotonic() < until:
            return token
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            token, until = self._tokens.get(tenant, ("", 0.0))
            if time.monotonic() < until:
                return token
            return await self._acquire(tenant, None)

    async def replace(self, tenant: str, refused: str, claims: str | None) -> None:
        """Replaces a token that Graph has refused, once for all requests that had it.

        Args:
            tenant: of the token.
            refused: the token.
            claims: the claims challenge of the refusal, if there is one.
        """
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            if self._tokens.get(tenant, ("", 0.0))[0] == refused:
                await self._acquire(tenant, claims, ignore_cache=True)

    async def _acquire(self, tenant: str, claims: str | None, *, ignore_cache: bool = False) -> str:
        try:
            response = await asyncio.to_thread(self._request, tenant, claims, ignore_cache)
        except OSError as error:  # raised by requests
            raise GraphUnavailableError(f"the authority does not answer: {type(error).__name__}") from error
        except ValueError as error:  # raised by msal where the tenant has no metadata
            raise MailboxBlockedError(BlockReason.UNKNOWN_TENANT, tenant_wide=True) from error
        if "access_token" not in response:
            self._apps.pop(tenant, None)  # msal would refuse by itself for a minute
            raise _token_refusal(response)
        lifetime = float(response.get("expires_in") or 0)
        self._tokens[tenant] = (
            response["access_token"],
            time.monotonic() + max(lifetime - TOKEN_MARGIN.total_seconds(), lifetime / 2),
        )
        return str(response["access_token"])

    def _request(self, tenant: str, claims: str | None, ignore_cache: bool) -> dict[str, Any]:
        app = self._apps.get(tenant)
        if app is None:
            settings = self._settings
            app = self._apps[tenant] = msal.ConfidentialClientApplication(
                settings.client_id,
                authority=f"{settings.authority_url.rstrip('/')}/{tenant}",
                client_credential=self._credential(),
                instance_discovery=False,
                http_client=_session(settings.authority_ca_file),
            )
        if ignore_cache:
            app.remove_tokens_for_client()
        return dict(app.acquire_token_for_client([self._settings.graph_scope], claims_challenge=claims))

    def _credential(self) -> str | dict[str, str]:
        if self._settings.client_certificate:
            pem = self._settings.client_certificate.read_text()
            return {"private_key": pem, "public_certificate": pem}
        return self._settings.client_secret.get_secret_value() if self._settings.client_secret else ""


class _SessionWithOwnCa(requests.Session):
    """Trusts its own CA file also where REQUESTS_CA_BUNDLE is set, which requests prefers by default."""

    def merge_environment_settings(self, *args: Any, **kwargs: Any) -> Any:
        return {**super().merge_environment_settings(*args, **kwargs), "verify": self.verify}


def _session(ca_file: Path | None) -> requests.Session:
    """The HTTP session of msal."""
    session = _SessionWithOwnCa() if ca_file else requests.Session()
    if ca_file:
        session.verify = str(ca_file)
    session.request = functools.partial(session.request, timeout=AUTHORITY_TIMEOUT.total_seconds())  # type: ignore[method-assign]  # as msal itself does
    return session


def _token_refusal(response: Mapping[str, Any]) -> Exception:
    codes = set(response.get("error_codes") or ())
    if response.get("error") in {"temporarily_unavailable", "server_error"}:
        return GraphUnavailableError("the authority cannot answer now")
    if codes & CONDITIONAL_ACCESS_CODES or "Conditional Access" in str(response.get("error_description")):
        return MailboxBlockedError(BlockReason.CONDITIONAL_ACCESS, tenant_wide=True)
    if response.get("error") == "invalid_client":
        return MailboxBlockedError(BlockReason.CREDENTIAL_REFUSED, tenant_wide=True)
    return MailboxBlockedError(BlockReason.TOKEN_REFUSED, tenant_wide=True)
