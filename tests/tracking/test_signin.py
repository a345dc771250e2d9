"""Who is let in, and what everyone else is told."""

import asyncio
import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from services.tracking.signin import COOL_DOWN, KEYS_LAST, AuthorityKeys, SignIn, Unauthorized

from .authority import AUDIENCE, URL, Authority, new_key, pem
from .conftest import Time, World
from .worlds import ADA, ANN, CONTOSO, FABRIKAM, NOW

STRANGER = new_key()
NOW_SECONDS = int(NOW.timestamp())
HOUR = 3600


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def signin(authority: Authority, time: Time) -> SignIn:
    keys = AuthorityKeys(URL, time, transport=authority.transport)
    return SignIn(keys, AUDIENCE, frozenset({CONTOSO, FABRIKAM}), time)


async def test_a_user_is_tid_and_oid_with_her_groups_and_roles(authority: Authority, signin: SignIn) -> None:
    user = await signin.user(f"Bearer {authority.token(ANN, groups=['sales'])}")
    assert (user.tenant, user.oid, user.name, user.groups, user.admin, user.groups_missing) == (
        CONTOSO,
        "oid-ann",
        "Ann Lee",
        frozenset({"sales"}),
        False,
        False,
    )
    assert (await signin.user(f"bearer {authority.token(ADA)}")).admin


@pytest.mark.parametrize("overage", [{"_claim_names": {"groups": "src1"}}, {"hasgroups": True}])
async def test_a_token_with_too_many_groups_has_none_and_says_so(
    authority: Authority, signin: SignIn, overage: dict[str, Any]
) -> None:
    user = await signin.user(f"Bearer {authority.token(ANN, groups=['sales'], **overage)}")
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


@pytest.mark.parametrize("changes,why", REFUSED.values(), ids=REFUSED)
async def test_a_token_that_is_not_taken(
    authority: Authority, signin: SignIn, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unauthorized, match=why):
        await signin.user(f"Bearer {authority.token(ANN, **changes)}")


async def test_the_public_key_is_no_shared_secret(authority: Authority, signin: SignIn) -> None:
    # PyJWT refuses to make such a token; whoever attacks does not use it.
    head, body, _ = authority.token(ANN).split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":"key-1"}').rstrip(b"=").decode()
    mac = hmac.new(pem(authority.keys["key-1"]), f"{head}.{body}".encode(), hashlib.sha256).digest()
    with pytest.raises(Unauthorized, match="not signed with RS256"):
        await signin.user(f"Bearer {head}.{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


@pytest.mark.parametrize("header", [None, "", "Basic YTpi", "Bearer"])
async def test_no_token_is_a_bare_challenge(signin: SignIn, header: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        await signin.user(header)
    assert refused.value.challenge.startswith("Bearer")


@pytest.mark.parametrize("token", ["x", "a.b.c", "e30.e30.", "." * 100, "é.é.é", "x" * 20_000])
async def test_what_is_no_token(signin: SignIn, token: str) -> None:
    with pytest.raises(Unauthorized):
        await signin.user(f"Bearer {token}")


async def test_a_token_is_taken_a_minute_around_its_time(authority: Authority, signin: SignIn) -> None:
    await signin.user(f"Bearer {authority.token(ANN, nbf=NOW_SECONDS + 59)}")
    await signin.user(f"Bearer {authority.token(ANN, exp=NOW_SECONDS - 59, nbf=0)}")


async def test_keys_are_asked_for_once_however_many_come_at_once(
    authority: Authority, signin: SignIn
) -> None:
    await asyncio.gather(*(signin.user(f"Bearer {authority.token(ANN)}") for _ in range(20)))
    assert authority.asked == {"openid-configuration": 1, "keys": 1}


async def test_unknown_keys_do_not_flood_the_authority(
    authority: Authority, signin: SignIn, time: Time
) -> None:
    for number in range(20):
        with pytest.raises(Unauthorized, match="does not publish"):
            await signin.user(f"Bearer {authority.token(ANN, kid=f'made-up-{number}', key=STRANGER)}")
    assert authority.asked["keys"] == 1
    time.now += COOL_DOWN
    with pytest.raises(Unauthorized):
        await signin.user(f"Bearer {authority.token(ANN, kid='made-up', key=STRANGER)}")
    assert authority.asked["keys"] == 2


async def test_tenants_that_are_not_onboarded_make_us_ask_nobody(
    authority: Authority, signin: SignIn
) -> None:
    with pytest.raises(Unauthorized):
        await signin.user(f"Bearer {authority.token(ANN, tid='elsewhere')}")
    assert not authority.asked


async def test_a_new_key_of_the_authority_is_found(authority: Authority, signin: SignIn, time: Time) -> None:
    await signin.user(f"Bearer {authority.token(ANN)}")
    authority.keys["key-2"] = new_key()
    time.now += COOL_DOWN
    assert (await signin.user(f"Bearer {authority.token(ANN, kid='key-2')}")).oid == ANN.oid


async def test_a_key_that_was_taken_back_is_forgotten_within_a_day(
    authority: Authority, signin: SignIn, time: Time
) -> None:
    await signin.user(f"Bearer {authority.token(ANN)}")
    old, authority.keys = authority.keys["key-1"], {"key-2": new_key()}
    time.now += KEYS_LAST
    with pytest.raises(Unauthorized, match="does not publish"):
        await signin.user(f"Bearer {authority.token(ANN, kid='key-1', key=old, exp=NOW_SECONDS + 48 * HOUR)}")


async def test_known_keys_do_while_the_authority_is_away(
    authority: Authority, signin: SignIn, time: Time
) -> None:
    await signin.user(f"Bearer {authority.token(ANN)}")
    authority.away = True
    time.now += KEYS_LAST
    assert (await signin.user(f"Bearer {authority.token(ANN, exp=NOW_SECONDS + 48 * HOUR)}")).oid == ANN.oid


async def test_over_http_a_refusal_is_a_401_that_never_repeats_the_token(world: World) -> None:
    for changes, why in REFUSED.values():
        token = world.authority.token(ANN, **changes)
        answer = await world.client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert why in answer.headers["WWW-Authenticate"]
        assert why in answer.json()["message"]
        assert token not in answer.text + str(answer.headers)
    bare = await world.client.get("/api/v1/me")
    assert (bare.status_code, bare.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_the_token_is_looked_at_before_anything_else(world: World) -> None:
    for method, path in (
        ("POST", "/records/a/b/suggestions/c/track"),
        ("GET", "/no-such-route"),
        ("GET", "/records/a/b/timeline?limit=x"),
    ):
        answer: httpx2.Response = await world.ask(
            None, method, path, content=b"{" if method == "POST" else None
        )
        assert answer.status_code == 401


async def test_an_authority_that_never_answered_is_a_503(world: World) -> None:
    world.authority.away = True
    answer = await world.ask(ANN, "GET", "/me")
    assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
    world.authority.away = False
    world.time.now += timedelta(seconds=2)
    assert (await world.ask(ANN, "GET", "/me")).status_code == 200
