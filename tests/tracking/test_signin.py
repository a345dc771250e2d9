"""Which tokens are accepted, and the errors for all others."""

import asyncio
import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from services.tracking.signin import FETCH_COOL_DOWN, KEYS_LIFETIME, AuthorityKeys, SignIn, UnauthorizedError

from .authority import AUDIENCE, URL, Authority, new_key, pem
from .conftest import SettableClock, World
from .worlds import ADA, ANN, CONTOSO, FABRIKAM, NOW

STRANGER = new_key()
NOW_SECONDS = int(NOW.timestamp())
HOUR = 3600


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def signin(authority: Authority, clock: SettableClock) -> SignIn:
    keys = AuthorityKeys(URL, clock, transport=authority.transport)
    return SignIn(keys, AUDIENCE, frozenset({CONTOSO, FABRIKAM}), clock)


async def test_user_is_tid_and_oid_with_groups_and_roles(authority: Authority, signin: SignIn) -> None:
    user = await signin.authenticate(f"Bearer {authority.token(ANN, groups=['sales'])}")
    assert (user.tenant, user.oid, user.name, user.groups, user.admin, user.groups_missing) == (
        CONTOSO,
        "oid-ann",
        "Ann Lee",
        frozenset({"sales"}),
        False,
        False,
    )
    assert (await signin.authenticate(f"bearer {authority.token(ADA)}")).admin


@pytest.mark.parametrize("overage", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
async def test_token_with_too_many_groups_has_none_and_is_marked(
    authority: Authority, signin: SignIn, overage: dict[str, Any]
) -> None:
    user = await signin.authenticate(f"Bearer {authority.token(ANN, groups=['sales'], **overage)}")
    assert (user.groups, user.groups_missing) == (frozenset(), True)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW_SECONDS - 61, "nbf": NOW_SECONDS - HOUR}, "has expired"),
    "not yet valid": ({"nbf": NOW_SECONDS + 61}, "not yet valid"),
    "without an end": ({"exp": None}, "lacks a claim"),
    "without a beginning": ({"nbf": None}, "lacks a claim"),
    "with an end that is no number": ({"exp": "tomorrow"}, "not valid"),
    "of a foreign tenant": ({"tid": "elsewhere", "iss": f"{URL}/elsewhere/v2.0"}, "not onboarded"),
    "of another issuer": ({"iss": f"https://evil.example/{CONTOSO}/v2.0"}, "tenant's authority"),
    "of one tenant with the issuer of another": ({"iss": f"{URL}/{FABRIKAM}/v2.0"}, "tenant's authority"),
    "for another API": ({"aud": "another-api"}, "not for this API"),
    "of version 1": ({"ver": "1.0"}, "no v2 token"),
    "of an application": ({"idtyp": "app"}, "an application's"),
    "of an application, by its missing scope": ({"scp": None, "roles": ["Mail.Read"]}, "an application's"),
    "without our scope": ({"scp": "User.Read Timeline.Read"}, "lacks the scope Timeline.ReadWrite"),
    "without an object id": ({"oid": None}, "lacks a claim"),
    "with an object id that could name another's things": ({"oid": "oid-ben/x"}, "not valid"),
    "signed by another key": ({"key": STRANGER}, "signature is wrong"),
    "signed by an unknown key": ({"kid": "key-2", "key": STRANGER}, "does not publish"),
    "not signed": ({"alg": "none", "key": ""}, "not signed with RS256"),
}


@pytest.mark.parametrize("changes,reason", REFUSED.values(), ids=REFUSED)
async def test_invalid_token_is_refused_with_its_reason(
    authority: Authority, signin: SignIn, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UnauthorizedError, match=reason):
        await signin.authenticate(f"Bearer {authority.token(ANN, **changes)}")


async def test_public_key_is_no_shared_secret(authority: Authority, signin: SignIn) -> None:
    # PyJWT refuses to make such a token; an attacker does not use PyJWT.
    head, body, _ = authority.token(ANN).split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"key-1"}').rstrip(b"=").decode()
    mac = hmac.new(pem(authority.keys["key-1"]), f"{head}.{body}".encode(), hashlib.sha256).digest()
    with pytest.raises(UnauthorizedError, match="not signed with RS256"):
        await signin.authenticate(
            f"Bearer {head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        )


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer"])
async def test_missing_token_is_a_bare_challenge(signin: SignIn, header: str | None) -> None:
    with pytest.raises(UnauthorizedError) as refused:
        await signin.authenticate(header)
    assert refused.value.challenge.startswith("Bearer")


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.", "." * 100, "é.é.é", "x" * 20_000])
async def test_malformed_token_is_refused(signin: SignIn, token: str) -> None:
    with pytest.raises(UnauthorizedError):
        await signin.authenticate(f"Bearer {token}")


async def test_token_is_valid_a_minute_around_its_time(authority: Authority, signin: SignIn) -> None:
    await signin.authenticate(f"Bearer {authority.token(ANN, nbf=NOW_SECONDS + 59)}")
    await signin.authenticate(f"Bearer {authority.token(ANN, exp=NOW_SECONDS - 59, nbf=0)}")


async def test_concurrent_requests_fetch_the_keys_once(authority: Authority, signin: SignIn) -> None:
    await asyncio.gather(*(signin.authenticate(f"Bearer {authority.token(ANN)}") for _ in range(20)))
    assert authority.requests == {"openid-configuration": 1, "keys": 1}


async def test_unknown_keys_do_not_flood_the_authority(
    authority: Authority, signin: SignIn, clock: SettableClock
) -> None:
    for number in range(20):
        with pytest.raises(UnauthorizedError, match="does not publish"):
            await signin.authenticate(f"Bearer {authority.token(ANN, kid=f'made-up-{number}', key=STRANGER)}")
    assert authority.requests["keys"] == 1
    clock.now += FETCH_COOL_DOWN
    with pytest.raises(UnauthorizedError):
        await signin.authenticate(f"Bearer {authority.token(ANN, kid='made-up', key=STRANGER)}")
    assert authority.requests["keys"] == 2


async def test_unknown_tenant_causes_no_request_to_the_authority(
    authority: Authority, signin: SignIn
) -> None:
    with pytest.raises(UnauthorizedError):
        await signin.authenticate(f"Bearer {authority.token(ANN, tid='elsewhere')}")
    assert not authority.requests


async def test_new_key_of_the_authority_is_found(
    authority: Authority, signin: SignIn, clock: SettableClock
) -> None:
    await signin.authenticate(f"Bearer {authority.token(ANN)}")
    authority.keys["key-2"] = new_key()
    clock.now += FETCH_COOL_DOWN
    assert (await signin.authenticate(f"Bearer {authority.token(ANN, kid='key-2')}")).oid == ANN.oid


async def test_withdrawn_key_is_forgotten_within_a_day(
    authority: Authority, signin: SignIn, clock: SettableClock
) -> None:
    await signin.authenticate(f"Bearer {authority.token(ANN)}")
    old, authority.keys = authority.keys["key-1"], {"key-2": new_key()}
    clock.now += KEYS_LIFETIME
    with pytest.raises(UnauthorizedError, match="does not publish"):
        await signin.authenticate(
            f"Bearer {authority.token(ANN, kid='key-1', key=old, exp=NOW_SECONDS + 48 * HOUR)}"
        )


async def test_known_keys_serve_while_the_authority_is_unavailable(
    authority: Authority, signin: SignIn, clock: SettableClock
) -> None:
    await signin.authenticate(f"Bearer {authority.token(ANN)}")
    authority.unavailable = True
    clock.now += KEYS_LIFETIME
    assert (
        await signin.authenticate(f"Bearer {authority.token(ANN, exp=NOW_SECONDS + 48 * HOUR)}")
    ).oid == ANN.oid


async def test_refusal_over_http_is_a_401_without_the_token(world: World) -> None:
    for changes, reason in REFUSED.values():
        token = world.authority.token(ANN, **changes)
        response = await world.client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401
        assert reason in response.headers["WWW-Authenticate"]
        assert reason in response.json()["detail"]
        assert token not in response.text + str(response.headers)
    bare = await world.client.get("/api/v1/me")
    assert (bare.status_code, bare.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_token_is_checked_before_the_rest_of_a_request(world: World) -> None:
    for method, path in (
        ("GET", "/no-such-route"),
        ("POST", "/records/a/b/suggestions/c/track"),
        ("GET", "/records/a/b/timeline?limit=x"),
    ):
        response: httpx2.Response = await world.request(
            None, method, path, content=b"{" if method == "POST" else None
        )
        assert response.status_code == 401


async def test_authority_that_never_answered_is_a_503(world: World) -> None:
    world.authority.unavailable = True
    response = await world.request(ANN, "GET", "/me")
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    world.authority.unavailable = False
    world.clock.now += timedelta(seconds=2)
    assert (await world.request(ANN, "GET", "/me")).status_code == 200
