"""What the API answers while the store must not be used."""

import asyncio

import httpx2
import pytest
from fastapi import FastAPI

from services.tracking.api.access import StoreInUse
from services.tracking.api.streams import TimelineStreams
from services.tracking.domain.visibility import DefaultReaders
from services.tracking.store import Store
from services.tracking.timeline.access import TimelineAccess
from shared.errors import RetryableError
from shared.service import StopSignal
from tests.tracking.conftest import SettableClock
from tests.tracking.worlds import ANN, RENEWAL, email, tracked

WHY = "the database is an older copy"


class Gate:
    """Why the store must not be used, as the recovery reports it."""

    def __init__(self, why: str | None = None) -> None:
        self.why = why

    async def refusal(self) -> str | None:
        if self.why == "unavailable":
            raise RetryableError("MongoDB is unavailable")
        return self.why


@pytest.mark.parametrize(
    "why,path,answer",
    [
        (None, "/api/v1/me", (200, None)),
        (WHY, "/api/v1/me", (503, "recovering")),
        ("unavailable", "/api/v1/me", (503, "unavailable")),
        (WHY, "/health/live", (200, None)),
    ],
)
async def test_api_answers_503_with_the_reason(
    why: str | None, path: str, answer: tuple[int, str | None]
) -> None:
    app = FastAPI()

    @app.get("/api/v1/me")
    @app.get("/health/live")
    async def answer_at_once() -> dict[str, str]:
        return {}

    app.add_middleware(StoreInUse, refusal=Gate(why).refusal)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://tracking") as client:
        response = await client.get(path)
    assert (response.status_code, response.json().get("code")) == answer
    assert (WHY in response.text) is (answer[1] == "recovering")


@pytest.mark.parametrize("why", [None, WHY, "unavailable"])
async def test_stream_ends_in_place_of_an_event(store: Store, why: str | None) -> None:
    gate, stop_signal = Gate(), StopSignal()
    access = TimelineAccess(store, DefaultReaders({"*": ("*",)}), SettableClock())
    streams = TimelineStreams(store, access, gate.refusal)
    watching = asyncio.create_task(streams.run(stop_signal))
    stream = streams.open(ANN, None)
    ready = await anext(stream)
    gate.why = why
    # The stream of changes begins with all changes that may have been missed.
    assert await store.tracked_activities.replace_if_unchanged(tracked(email(), (ANN, RENEWAL)), None)
    async with asyncio.timeout(10):
        event = await anext(stream, b"")
    stop_signal.set()
    await watching
    assert [each.split(b"\n")[0] for each in (ready, event)] == [
        b"event: ready",
        b"" if why else b"event: changed",
    ]
