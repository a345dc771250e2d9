"""The application's access tokens, from the sign-in authority of each tenant. Only this module uses msal."""

import asyncio
import functools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msal
import requests

from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.settings import IngestSettings

from .answers import retry_after
from .errors import GraphUnavailableError, MailboxBlockedError

AUTHORITY_TIMEOUT = timedelta(seconds=20)
TOKEN_MARGIN = timedelta(minutes=5)
"""A token is renewed this long before it expires."""
REPLACEMENT_PAUSE = timedelta(minutes=1)
"""A refused token is replaced once in this time; when the new one is refused as well, it is not the cause."""
AUTHORITY_PAUSE = timedelta(seconds=5)
"""No request for this time after the authority did not answer, unless it names another in Retry-After."""
CLIENT_CAPABILITIES = ("CP1",)
"""CP1: this client can respond to the claims challenges of Continuous Access Evaluation."""

CONDITIONAL_ACCESS_CODES = {53000, 53001, 53002, 53003, 53004, 530032, 530034, 530035}
"""AADSTS codes of a token that a Conditional Access policy refuses."""
CONSENT_CODES = {65001, 500014, 700016, 7000112}
"""AADSTS codes of an application that is not consented, not in the tenant, or disabled there."""
TEMPORARY_CODES = {50196, 90006, 90012, 90024, 90033, 90055}
"""AADSTS codes that pass by themselves: the authority's own faults, its limits, and its loop detection."""
TEMPORARY_ERRORS = {"temporarily_unavailable", "server_error"}
DISCOVERY_FIELDS = {"authorization_endpoint", "token_endpoint"}
"""What msal needs of a tenant's metadata."""


@dataclass(frozen=True, slots=True)
class _Token:
    """An access token, with monotonic times."""

    text: str = ""
    renew_at: float = 0.0
    expires: float = 0.0


class TokenSource:
    """The application's tokens, with one authority for each tenant. msal blocks, so it runs in a thread."""

    def __init__(self, settings: IngestSettings) -> None:
        self._settings = settings
        self._apps: dict[str, msal.ConfidentialClientApplication] = {}
        self._tokens: dict[str, _Token] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._paused_until: dict[str, float] = {}
        self._replaced: dict[str, tuple[float, str | None]] = {}

    async def get(self, tenant: str) -> str:
        """A token that stays valid for a while, or until the authority answers again.

        Raises:
            GraphUnavailableError: the authority does not answer.
            MailboxBlockedError: the authority refuses the tenant.
        """
        token = self._tokens.get(tenant, _Token())
        if time.monotonic() < token.renew_at:
            return token.text
        async with self._lock(tenant):
            token = self._tokens.get(tenant, _Token())
            if time.monotonic() < token.renew_at:
                return token.text
            try:
                return await self._acquire(tenant, None)
            except GraphUnavailableError:
                if time.monotonic() < token.expires:
                    return token.text
                raise

    async def replace(self, tenant: str, refused: str, claims: str | None) -> bool:
        """Replaces a token that Graph has refused, once for all requests that had it.

        Args:
            tenant: of the token.
            refused: the token.
            claims: the claims, as JSON, that Graph requires of the next token; None without a challenge.

        Returns:
            Whether there is another token by now. There is none when the last one was replaced a moment ago.
        """
        async with self._lock(tenant):
            if self._tokens.get(tenant, _Token()).text != refused:
                return True
            now = time.monotonic()
            replaced_at, replaced_for = self._replaced.get(tenant, (float("-inf"), None))
            if now < replaced_at + REPLACEMENT_PAUSE.total_seconds() and claims in (None, replaced_for):
                return False
            await self._acquire(tenant, claims, ignore_cache=True)
            self._replaced[tenant] = now, claims
            return True

    def _lock(self, tenant: str) -> asyncio.Lock:
        return self._locks.setdefault(tenant, asyncio.Lock())

    async def _acquire(self, tenant: str, claims: str | None, *, ignore_cache: bool = False) -> str:
        pause = self._paused_until.get(tenant, 0.0) - time.monotonic()
        if pause > 0:
            raise GraphUnavailableError("the authority does not answer", timedelta(seconds=pause))
        try:
            response = await asyncio.to_thread(self._request, tenant, claims, ignore_cache)
            if "access_token" not in response:
                self._apps.pop(tenant, None)  # msal would refuse by itself for a minute
                raise _refusal(response)
        except GraphUnavailableError as error:
            wait = AUTHORITY_PAUSE if error.retry_after is None else error.retry_after
            self._paused_until[tenant] = time.monotonic() + wait.total_seconds()
            raise
        now, lifetime = time.monotonic(), float(response.get("expires_in") or 0)
        renew_in = max(lifetime - TOKEN_MARGIN.total_seconds(), lifetime / 2)
        self._tokens[tenant] = _Token(response["access_token"], now + renew_in, now + lifetime)
        return str(response["access_token"])

    def _request(self, tenant: str, claims: str | None, ignore_cache: bool) -> dict[str, Any]:
        try:
            app = self._apps.get(tenant)
            if app is None:
                settings = self._settings
                app = self._apps[tenant] = msal.ConfidentialClientApplication(
                    settings.client_id,
                    authority=f"{settings.authority_url.rstrip('/')}/{tenant}",
                    client_credential=self._credential(),
                    client_capabilities=list(CLIENT_CAPABILITIES),
                    instance_discovery=False,
                    http_client=_session(settings.authority_ca_file),
                )
            if ignore_cache:
                app.remove_tokens_for_client()
            return dict(app.acquire_token_for_client([self._settings.graph_scope], claims_challenge=claims))
        except OSError as error:  # raised by requests
            raise GraphUnavailableError(f"the authority does not answer: {type(error).__name__}") from error
        except ValueError as error:  # raised by msal, which cannot use the certificate
            raise MailboxBlockedError(BlockReason.CREDENTIAL_REFUSED, tenant_wide=True) from error

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
    session.hooks["response"].append(_check_response)
    return session


def _check_response(response: requests.Response, *_: Any, **__: Any) -> None:
    """Checks a response before msal reads it: msal has no error for an authority that cannot answer now.

    Raises:
        GraphUnavailableError: it is no answer about the tenant; the same request succeeds later.
        MailboxBlockedError: the authority does not have the tenant.
    """
    if response.is_redirect:
        return
    status = response.status_code
    body = _json_object(response.text)
    is_discovery = response.request.method == "GET"
    lacks_fields = status == 200 and not body.keys() >= (
        DISCOVERY_FIELDS if is_discovery else {"access_token"}
    )
    if status in {408, 429} or status >= 500 or not body or lacks_fields or _is_temporary(body):
        wait = retry_after(response.headers, {}, datetime.now(UTC))
        raise GraphUnavailableError(f"the authority answers {status}", wait)
    if is_discovery and status >= 400:
        raise MailboxBlockedError(BlockReason.UNKNOWN_TENANT, tenant_wide=True)


def _json_object(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty where there is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _is_temporary(body: Mapping[str, Any]) -> bool:
    return body.get("error") in TEMPORARY_ERRORS or bool(_aadsts_codes(body) & TEMPORARY_CODES)


def _aadsts_codes(body: Mapping[str, Any]) -> set[Any]:
    codes = body.get("error_codes")
    return {code for code in codes if isinstance(code, int)} if isinstance(codes, list) else set()


def _refusal(response: Mapping[str, Any]) -> MailboxBlockedError:
    """The refusal of the tenant in a response of the token endpoint."""
    codes = _aadsts_codes(response)
    reason = BlockReason.TOKEN_REFUSED
    if codes & CONDITIONAL_ACCESS_CODES or "Conditional Access" in str(response.get("error_description")):
        reason = BlockReason.CONDITIONAL_ACCESS
    elif codes & CONSENT_CODES:
        reason = BlockReason.CONSENT_MISSING
    elif response.get("error") == "invalid_client":
        reason = BlockReason.CREDENTIAL_REFUSED
    return MailboxBlockedError(reason, tenant_wide=True)
