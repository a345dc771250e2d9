"""What the authority's responses mean, by the real msal against the simulator's authority."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import HttpUrl, SecretStr

from services.mail_ingest.graph.client import GraphClient
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.graph.tokens import TokenSource
from services.mail_ingest.graph.users import GraphUser, UserCalls
from services.mail_ingest.settings import IngestSettings
from simulator.control.client import TenantControl
from simulator.server import Running
from simulator.state.tenants import CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET

ANN = "ann@contoso.example"


@pytest.fixture
def tenant(graph: Running) -> Any:
    """A tenant with Ann's mailbox."""
    tenant = graph.client.tenant()
    tenant.user(ANN)
    yield tenant
    graph.client.clear_faults()


@pytest.fixture
def settings(graph: Running) -> IngestSettings:
    """The settings of a mail-ingest that uses the simulator."""
    return IngestSettings(
        authority_url=graph.url,
        authority_ca_file=graph.ca,
        graph_url=HttpUrl(f"{graph.url}/v1.0"),
        client_id=CAPTURE_CLIENT_ID,
        client_secret=SecretStr(CAPTURE_CLIENT_SECRET),
    )


@pytest.fixture
async def client(settings: IngestSettings) -> AsyncIterator[GraphClient]:
    """A client with the real msal."""
    client = GraphClient(settings)
    yield client
    await client.close()


def tokens_issued(tenant: TenantControl) -> int:
    return int(tenant.simulator.counters()["tokens"].get("client_credentials", 0))


async def test_claims_challenge_is_answered_with_one_token_that_has_the_claims(
    client: GraphClient, tenant: TenantControl
) -> None:
    users = UserCalls(client)
    await users.find(tenant.id, ANN)
    issued = tokens_issued(tenant)
    tenant.revoke_tokens()

    found = await asyncio.gather(*(users.find(tenant.id, ANN) for _ in range(3)), return_exceptions=True)

    assert [type(each) for each in found] == [GraphUser] * 3
    assert tokens_issued(tenant) == issued + 1


@pytest.mark.parametrize(
    "fault, wait",
    [
        ({"status": 503, "kind": "token"}, None),
        ({"status": 429, "kind": "token", "retry_after": 40}, timedelta(seconds=40)),
        ({"status": 429, "kind": "token", "retry_after": "999999999999999"}, timedelta(hours=1)),
        ({"status": 503, "kind": "token", "retry_after": "inf"}, timedelta(hours=1)),
        ({"status": 503, "kind": "token", "retry_after": "soon"}, None),
        ({"status": 500, "kind": "discovery"}, None),
        ({"status": 200, "kind": "discovery", "body": "<html>Sign in to the network</html>"}, None),
        ({"status": 200, "kind": "token", "body": "<html>Sign in to the network</html>"}, None),
        ({"status": 200, "kind": "token", "body": "[]"}, None),
        (
            {"status": 400, "kind": "token", "body": '{"error": "invalid_grant", "error_codes": [50196]}'},
            None,
        ),
        (
            {"status": 400, "kind": "discovery", "body": '{"error": "x", "error_codes": [90033]}'},
            None,
        ),
    ],
)
async def test_authority_that_is_away_is_waited_for_with_one_request(
    settings: IngestSettings, tenant: TenantControl, fault: dict[str, Any], wait: timedelta | None
) -> None:
    tokens = TokenSource(settings)
    tenant.simulator.fault(**fault, count=1)

    with pytest.raises(GraphUnavailableError) as away:
        await tokens.get(tenant.id)
    assert away.value.retry_after == wait

    with pytest.raises(GraphUnavailableError) as paused:  # without a request, which would succeed
        await tokens.get(tenant.id)
    assert paused.value.retry_after is not None


async def test_answer_of_a_proxy_is_no_refusal(settings: IngestSettings, tenant: TenantControl) -> None:
    for kind in ("discovery", "token"):
        tenant.simulator.fault(403, kind=kind, body="Forbidden by the proxy", count=1)

        (away,) = await asyncio.gather(TokenSource(settings).get(tenant.id), return_exceptions=True)

        assert isinstance(away, GraphUnavailableError)


async def test_token_is_used_to_its_end_while_the_authority_is_away(
    settings: IngestSettings, tenant: TenantControl
) -> None:
    tokens = TokenSource(settings)
    short = '{"access_token": "short", "token_type": "Bearer", "expires_in": 2}'
    tenant.simulator.fault(200, kind="token", body=short, count=1)
    assert await tokens.get(tenant.id) == "short"
    tenant.simulator.fault(503, kind="token")
    await asyncio.sleep(1.05)  # half of its lifetime: a new one is requested

    assert await tokens.get(tenant.id) == "short"


@pytest.mark.parametrize(
    "registration, reason",
    [
        ({"secrets": ["another"]}, "credential_refused"),
        ({"client_id": "another"}, "consent_missing"),
    ],
)
async def test_refusal_of_the_authority_is_the_tenants(
    settings: IngestSettings, tenant: TenantControl, registration: dict[str, Any], reason: str
) -> None:
    if "client_id" in registration:
        settings = settings.model_copy(update=registration)
    else:
        tenant.app(CAPTURE_CLIENT_ID, **registration)

    with pytest.raises(MailboxBlockedError, match=reason) as refused:
        await TokenSource(settings).get(tenant.id)

    assert refused.value.tenant_wide


async def test_tenant_that_the_authority_does_not_have_is_unknown(settings: IngestSettings) -> None:
    with pytest.raises(MailboxBlockedError, match="unknown_tenant"):
        await TokenSource(settings).get("00000000-0000-0000-0000-000000000001")


async def test_certificate_that_cannot_be_read_is_no_unknown_tenant(
    settings: IngestSettings, tenant: TenantControl, tmp_path: Path
) -> None:
    pem = tmp_path / "client.pem"
    pem.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    settings = settings.model_copy(update={"client_secret": None, "client_certificate": pem})

    with pytest.raises(MailboxBlockedError, match="credential_refused"):
        await TokenSource(settings).get(tenant.id)


async def test_refused_token_is_replaced_once_in_a_minute(
    settings: IngestSettings, tenant: TenantControl
) -> None:
    tokens = TokenSource(settings)
    token = await tokens.get(tenant.id)
    assert await tokens.replace(tenant.id, token, None)
    assert await tokens.replace(tenant.id, token, None), "it is replaced already"

    assert not await tokens.replace(tenant.id, await tokens.get(tenant.id), None)
