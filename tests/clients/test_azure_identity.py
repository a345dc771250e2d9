"""The authority with azure-identity, as msgraph-sdk uses it."""

from pathlib import Path

import pytest
from trustme import CA, KeyType

from simulator.control.client import Simulator, TenantControl
from simulator.state.tenants import CAPTURE_CLIENT_ID
from tests.clients.contoso import ANN
from tests.clients.program import Program

pytestmark = pytest.mark.full("clients")


def test_secret_gets_a_token_with_the_roles_of_the_application(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    signed_in = msgraph.call("sign_in")
    [app] = [a for a in tenant.show()["apps"] if a["client_id"] == CAPTURE_CLIENT_ID]
    claims = signed_in["claims"]
    assert (claims["tid"], claims["appid"], claims["roles"]) == (tenant.id, CAPTURE_CLIENT_ID, app["roles"])
    assert signed_in["same"]
    assert simulator.counters()["tokens"] == {"client_credentials": 1}


def test_certificate_gets_a_token(tenant: TenantControl, msgraph: Program, tmp_path: Path) -> None:
    issued = CA(key_type=KeyType.RSA).issue_cert("application.example", key_type=KeyType.RSA)
    file = tmp_path / "application.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    public = issued.cert_chain_pems[0].bytes().decode()
    tenant.app(CAPTURE_CLIENT_ID, certificates=[public])
    assert msgraph.call("sign_in", certificate=str(file))["claims"]["appid"] == CAPTURE_CLIENT_ID


def test_wrong_secret_is_refused_by_entras_code(msgraph: Program) -> None:
    assert "AADSTS7000215" in msgraph.call("sign_in", secret="wrong")["refused"]


def test_conditional_access_is_refused_by_entras_code(tenant: TenantControl, msgraph: Program) -> None:
    tenant.conditional_access(blocks=True)
    assert "AADSTS53003" in msgraph.call("sign_in")["refused"]


def test_claims_challenge_gets_a_new_token(
    simulator: Simulator, tenant: TenantControl, msgraph: Program
) -> None:
    tenant.send("pat@fabrikam.com", [ANN], subject="Hello")
    assert len(msgraph.call("messages", user=ANN)["items"]) == 1
    tenant.revoke_tokens()
    assert len(msgraph.call("messages", user=ANN)["items"]) == 1
    counters = simulator.counters()
    assert (counters["statuses"], counters["tokens"]) == ({"200": 2, "401": 1}, {"client_credentials": 2})
