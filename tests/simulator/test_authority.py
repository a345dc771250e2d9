"""The authority with the real msal and with requests of a browser's page."""

import re
import ssl
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import msal
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from simulator.control.client import Simulator, TenantControl
from simulator.entra.tokens import INVALID_TOKEN_KINDS
from simulator.server import Running
from simulator.state.tenants import API_CLIENT_ID, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET

SCOPE = ["https://graph.microsoft.com/.default"]
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
TIMELINE = f"api://{API_CLIENT_ID}/Timeline.ReadWrite"


@pytest.fixture(autouse=True)
def no_other_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests prefers these variables to the CA that msal gets."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@contextmanager
def msal_app(
    server: Running,
    tenant: TenantControl,
    client: str,
    credential: Any,
    capabilities: list[str] | None = None,
) -> Iterator[msal.ConfidentialClientApplication]:
    app = msal.ConfidentialClientApplication(
        client,
        client_credential=credential,
        authority=tenant.authority,
        instance_discovery=False,
        client_capabilities=capabilities,
        verify=str(server.ca),
    )
    try:
        yield app
    finally:
        app.http_client.close()


def read_token(server: Running, tenant: TenantControl, token: str, **options: Any) -> dict[str, Any]:
    """Verify a token as an API does, by the tenant's metadata and keys."""
    context = ssl.create_default_context(cafile=str(server.ca))
    metadata = server.client.http.get(f"/{tenant.id}/v2.0/.well-known/openid-configuration").json()
    keys = jwt.PyJWKClient(metadata["jwks_uri"], ssl_context=context)
    key = keys.get_signing_key_from_jwt(token)
    claims: dict[str, Any] = jwt.decode(
        token, key, algorithms=["RS256"], audience=API_CLIENT_ID, issuer=metadata["issuer"], **options
    )
    return claims


def test_msal_gets_a_token_for_a_secret(server: Running, tenant: TenantControl) -> None:
    with msal_app(server, tenant, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET) as app:
        answer = app.acquire_token_for_client(SCOPE)
        assert answer["token_source"] == "identity_provider"
        assert app.acquire_token_for_client(SCOPE)["token_source"] == "cache"
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    assert claims["aud"] == "https://graph.microsoft.com"
    assert claims["tid"] == tenant.id
    assert claims["roles"] == ["Mail.Read", "Calendars.Read", "User.Read.All"]


def test_msal_gets_an_error_for_a_wrong_secret(server: Running, tenant: TenantControl) -> None:
    with msal_app(server, tenant, CAPTURE_CLIENT_ID, "wrong") as app:
        answer = app.acquire_token_for_client(SCOPE)
    assert answer["error"] == "invalid_client"
    assert answer["error_codes"] == [7000215]
    assert "AADSTS7000215" in answer["error_description"]


def certificate() -> tuple[str, str]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "capture")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), made.public_bytes(serialization.Encoding.PEM).decode()


def thumbprint(pem: str) -> str:
    return x509.load_pem_x509_certificate(pem.encode()).fingerprint(hashes.SHA1()).hex()


@pytest.mark.parametrize(
    "credential",
    [
        lambda private, public: {"private_key": private, "public_certificate": public},
        lambda private, public: {"private_key": private, "thumbprint": thumbprint(public)},
    ],
    ids=["PS256 with x5t#S256", "RS256 with x5t"],
)
@pytest.mark.filterwarnings("ignore:SHA-1 thumbprint:DeprecationWarning")
def test_msal_gets_a_token_for_a_certificate(
    server: Running, tenant: TenantControl, credential: Callable[[str, str], dict[str, str]]
) -> None:
    private, public = certificate()
    tenant.app(CAPTURE_CLIENT_ID, certificates=[public])
    with msal_app(server, tenant, CAPTURE_CLIENT_ID, credential(private, public)) as app:
        assert "access_token" in app.acquire_token_for_client(SCOPE)
    other, public = certificate()
    with msal_app(server, tenant, CAPTURE_CLIENT_ID, credential(other, public)) as app:
        assert app.acquire_token_for_client(SCOPE)["error_codes"] == [700027]


def test_msal_signs_a_user_in(server: Running, tenant: TenantControl) -> None:
    tenant.app(API_CLIENT_ID, redirects=["web:http://localhost:5000/back"])
    ann = next(u for u in tenant.show()["users"] if u["address"] == "ann@contoso.example")
    with msal_app(server, tenant, API_CLIENT_ID, "timeline-secret-of-the-simulator") as app:
        flow = app.initiate_auth_code_flow(
            [TIMELINE], redirect_uri="http://localhost:5000/back", response_mode="form_post"
        )
        page = server.client.http.get(flow["auth_uri"])
        assert "Ann Lee" in page.text
        assert "bob@contoso.example" in page.text
        back = server.client.http.post(flow["auth_uri"], data={"user": ann["oid"]})
        posted = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', back.text))
        answer = app.acquire_token_by_auth_code_flow(flow, posted)
        assert answer["id_token_claims"]["oid"] == ann["oid"]
        account = app.get_accounts()[0]
        again = app.acquire_token_silent([TIMELINE], account, force_refresh=True)
    assert "refresh_token" in answer
    claims = read_token(server, tenant, again["access_token"])
    assert (claims["oid"], claims["tid"], claims["scp"], claims["ver"]) == (
        ann["oid"],
        tenant.id,
        "Timeline.ReadWrite",
        "2.0",
    )
    assert claims["azp"] == API_CLIENT_ID


def test_page_of_another_origin_signs_a_user_in(server: Running, tenant: TenantControl) -> None:
    claims = read_token(
        server, tenant, tenant.sign_in("ann@contoso.example", redirect_uri="http://localhost:8123/")
    )
    assert claims["name"] == "Ann Lee"
    assert claims["preferred_username"] == "ann@contoso.example"
    assert "roles" not in claims
    preflight = server.client.http.options(
        f"/{tenant.id}/oauth2/v2.0/token",
        headers={"origin": "http://localhost:8123", "access-control-request-method": "POST"},
    )
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:8123"


def redeem(simulator: Simulator, tenant: TenantControl, code: str, **changes: str) -> httpx2.Response:
    form = {
        "grant_type": "authorization_code",
        "client_id": API_CLIENT_ID,
        "code": code,
        "redirect_uri": "http://localhost/",
        "code_verifier": VERIFIER,
        **changes,
    }
    return simulator.http.post(
        f"/{tenant.id}/oauth2/v2.0/token", data=form, headers={"origin": "http://localhost"}
    )


def authorize(simulator: Simulator, tenant: TenantControl, **changes: str) -> httpx2.Response:
    parameters = {
        "client_id": API_CLIENT_ID,
        "response_type": "code",
        "redirect_uri": "http://localhost/",
        "scope": TIMELINE,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "prompt": "none",
        "login_hint": "ann@contoso.example",
        **changes,
    }
    return simulator.http.get(f"/{tenant.id}/oauth2/v2.0/authorize", params=parameters)


def returned(answer: httpx2.Response) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def test_code_is_valid_once_and_only_with_its_verifier(simulator: Simulator, tenant: TenantControl) -> None:
    code = returned(authorize(simulator, tenant))["code"]
    assert redeem(simulator, tenant, code, code_verifier="w" * 43).json()["error_codes"] == [501481]
    assert redeem(simulator, tenant, "other").json()["error"] == "invalid_grant"
    assert redeem(simulator, tenant, code).json()["scope"] == TIMELINE
    assert redeem(simulator, tenant, code).json()["error_codes"] == [54005]


def test_sign_in_without_tenant_uses_the_users_tenant(simulator: Simulator, tenant: TenantControl) -> None:
    other = simulator.tenant(name="Tailspin", domain="tailspin.example")
    other.user("tom@tailspin.example", name="Tom Tail")
    tenant.user("una@northwind.example", name="Una North")
    any_tenant = TenantControl(simulator, "organizations")
    page = authorize(simulator, any_tenant, prompt="select_account", login_hint="")
    assert re.search(r"Una North.*<h2>Tailspin</h2>.*Tom Tail", page.text)
    for address, home in (("una@northwind.example", tenant), ("tom@tailspin.example", other)):
        code = returned(
            authorize(simulator, any_tenant, login_hint=address, scope=f"{TIMELINE} offline_access")
        )["code"]
        first = redeem(simulator, any_tenant, code).json()
        again = redeem(
            simulator, any_tenant, "", grant_type="refresh_token", refresh_token=first["refresh_token"]
        ).json()
        for answer in (first, again):
            claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
            assert (claims["tid"], claims["iss"]) == (home.id, f"{simulator.url}/{home.id}/v2.0")
    assert redeem(simulator, any_tenant, "unknown").json()["error_codes"] == [90002]


def test_invalid_sign_in_requests_are_rejected(simulator: Simulator, tenant: TenantControl) -> None:
    assert authorize(simulator, tenant, redirect_uri="http://localhost/elsewhere").status_code == 400
    assert authorize(simulator, tenant, client_id="unknown").status_code == 400
    assert returned(authorize(simulator, tenant, login_hint=""))["error"] == "login_required"
    assert (
        returned(authorize(simulator, tenant, login_hint="eve@contoso.example"))["error"] == "login_required"
    )
    assert (
        returned(authorize(simulator, tenant, response_type="token"))["error"] == "unsupported_response_type"
    )
    assert returned(authorize(simulator, tenant, scope="api://other/Thing"))["error"] == "invalid_resource"


def test_token_has_roles_and_groups(server: Running, tenant: TenantControl) -> None:
    tenant.user("eve@contoso.example", roles=["AutoCapture.Admin"], groups=["g1", "g2"])
    claims = read_token(server, tenant, tenant.sign_in("eve@contoso.example"))
    assert (claims["roles"], claims["groups"]) == (["AutoCapture.Admin"], ["g1", "g2"])
    tenant.change_user("eve@contoso.example", groups_overage=True)
    claims = read_token(server, tenant, tenant.mint("eve@contoso.example"))
    assert claims["_claim_names"] == {"groups": "src1"}
    assert "groups" not in claims


@pytest.mark.parametrize("kind", INVALID_TOKEN_KINDS)
def test_invalid_tokens_are_rejected(server: Running, tenant: TenantControl, kind: str) -> None:
    token = tenant.mint("ann@contoso.example", kind)
    try:
        claims = read_token(server, tenant, token)
    except jwt.PyJWTError:
        return
    assert claims.get("scp") != "Timeline.ReadWrite" or claims.get("oid") is None


def test_keys_roll_over(server: Running, tenant: TenantControl) -> None:
    old = tenant.mint("ann@contoso.example")
    kid = server.client.roll_keys()
    new = tenant.mint("ann@contoso.example")
    assert jwt.get_unverified_header(new)["kid"] == kid != jwt.get_unverified_header(old)["kid"]
    assert read_token(server, tenant, old)["oid"] == read_token(server, tenant, new)["oid"]
    server.client.roll_keys(forget_old=True)
    with pytest.raises(jwt.PyJWKClientError):
        read_token(server, tenant, new)


def test_conditional_access_blocks_the_application(server: Running, tenant: TenantControl) -> None:
    tenant.conditional_access(blocks=True)
    with msal_app(server, tenant, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET) as app:
        assert app.acquire_token_for_client(SCOPE)["error_codes"] == [53003]


def test_client_that_can_respond_to_a_challenge_gets_a_token_with_its_claims(
    server: Running, tenant: TenantControl
) -> None:
    def status(token: str) -> tuple[int, str]:
        headers = {"authorization": f"Bearer {token}"}
        response = server.client.http.get("/v1.0/users/ann@contoso.example", headers=headers)
        return response.status_code, response.headers.get("www-authenticate", "")

    with msal_app(server, tenant, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET, capabilities=["CP1"]) as app:
        challenged = app.acquire_token_for_client(SCOPE)["access_token"]
        with msal_app(server, tenant, CAPTURE_CLIENT_ID, CAPTURE_CLIENT_SECRET) as other:
            old = other.acquire_token_for_client(SCOPE)["access_token"]
        tenant.revoke_tokens()
        assert status(old)[0] == 200
        refused, challenge = status(challenged)
        assert refused == 401
        assert 'error="insufficient_claims"' in challenge
        claims = b64decode(challenge.partition('claims="')[2].partition('"')[0]).decode()
        app.remove_tokens_for_client()
        assert status(app.acquire_token_for_client(SCOPE)["access_token"])[0] == 401
        answer = app.acquire_token_for_client(SCOPE, claims_challenge=claims)
    assert status(answer["access_token"])[0] == 200
    assert answer["expires_in"] > 23 * 3600


def test_unknown_tenant_is_an_error(server: Running) -> None:
    answer = server.client.http.get("/no-such-tenant/v2.0/.well-known/openid-configuration")
    assert answer.status_code == 400
    assert answer.json()["error_codes"] == [90002]


def test_client_info_names_the_user(simulator: Simulator, tenant: TenantControl) -> None:
    code = returned(authorize(simulator, tenant))["code"]
    answer = redeem(simulator, tenant, code, client_info="1").json()
    info = answer["client_info"]
    assert tenant.id.encode() in urlsafe_b64decode(info + "=" * (-len(info) % 4))
