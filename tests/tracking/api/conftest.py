"""A small office for tests of the API, and the check that the OpenAPI document describes its responses."""

import httpx2
import pytest

from tests.tracking.conftest import World
from tests.tracking.worlds import ACCOUNT, ANN, BEN, RENEWAL, email

from .openapi import described_responses, resolve


@pytest.fixture
async def office(world: World) -> World:
    """Ann's mail about the renewal, which both Ann and Ben may read."""
    await world.add_record(RENEWAL, "Fleet renewal")
    await world.add_record(ACCOUNT, "Fabrikam")
    for user in (ANN, BEN):
        await world.set_mailbox(user)
    await world.suggest(email(), RENEWAL, ACCOUNT)
    return world


async def check_described(response: httpx2.Response) -> None:
    """Checks that the OpenAPI document describes this response, with its fields and media type."""
    path = response.request.url.raw_path.decode().partition("?")[0]
    described = described_responses(response.request.method, path)
    if described is None:
        return
    assert str(response.status_code) in described, (
        f"{response.request.method} {response.request.url.path}: {response.status_code}"
    )
    content = resolve(described[str(response.status_code)]).get("content", {})
    await response.aread()
    assert bool(content) == bool(response.content)
    media_type = response.headers.get("content-type", "").partition(";")[0]
    assert set(content) <= {media_type}
    if content:
        schema = resolve(content[media_type]["schema"])
        assert set(schema["required"]) <= response.json().keys() <= schema["properties"].keys()


@pytest.fixture
def responses_are_described(world: World) -> None:
    """Checks each response that the test receives."""
    world.client.event_hooks["response"].append(check_described)
