"""The page's files, and its configuration."""

from tests.tracking.authority import AUDIENCE
from tests.tracking.conftest import World


async def test_page_has_a_policy_that_allows_no_inline_script(world: World) -> None:
    response = await world.client.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self' https://authority.example;" in policy
    assert "unsafe" not in policy
    assert "<script>" not in response.text
    assert "style=" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    again = await world.client.get("/", headers={"if-none-match": response.headers["etag"]})
    assert again.status_code == 304
    assert (await world.client.get("/page/app.py")).status_code == 404
    assert (await world.client.get("/page/..%2Fapp.py")).status_code == 404


async def test_page_config_names_no_tenant_when_there_are_several(
    world: World,
) -> None:
    assert (await world.client.get("/config.json")).json() == {
        "authority": "https://authority.example",
        "tenant": "organizations",
        "client_id": AUDIENCE,
        "scope": f"api://{AUDIENCE}/Timeline.ReadWrite openid profile offline_access",
    }
