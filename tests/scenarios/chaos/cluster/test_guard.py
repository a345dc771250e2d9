"""A record that is closed to a reader: when it is a leak that a replica shows it."""

from collections.abc import Mapping

import pytest

from scenarios.chaos.cluster.api import Answer
from scenarios.chaos.cluster.guard import CLOSED_AFTER, Guard
from scenarios.chaos.cluster.operations import Operations

RECORD = "opportunity/deal-0"


class StubApi:
    """Two replicas with the answers that a test gives them."""

    replicas = ("one", "two")

    def __init__(self, answers: Mapping[str, int | None]) -> None:
        self.answers = dict(answers)

    async def timeline(self, _user: object, _record: str, *, replica: str) -> Answer:
        return self.answers[replica], {}


class Scene:
    """A record that is closed since some seconds."""

    def __init__(self, seconds: float, one: int | None, two: int | None, *, stretch: float = 1.0) -> None:
        self.api = StubApi({"one": one, "two": two})
        self.guard = Guard(self.api, object(), Operations(), lambda: stretch)  # type: ignore[arg-type]
        self.guard.closed(RECORD)
        closed = self.guard.records[RECORD]
        assert closed.closed_at is not None
        closed.closed_at -= seconds

    async def read(self) -> "Scene":
        for replica in self.api.replicas:
            await self.guard._read(self.guard.records[RECORD], replica)
        return self


@pytest.mark.parametrize(
    "seconds, two, leaks",
    [
        (CLOSED_AFTER - 1, 200, 0),  # both had time until now
        (CLOSED_AFTER + 1, 200, 1),
        (CLOSED_AFTER + 1, 404, 0),
        (CLOSED_AFTER + 1, 503, 0),
        (CLOSED_AFTER + 1, None, 0),
    ],
)
async def test_only_a_200_after_the_bound_is_a_leak(seconds: float, two: int | None, leaks: int) -> None:
    scene = await Scene(seconds, 404, two).read()
    assert [leak.replica for leak in scene.guard.leaks] == ["two"] * leaks


async def test_bound_is_stretched_on_a_busy_machine() -> None:
    assert (await Scene(CLOSED_AFTER + 1, 404, 200, stretch=2.0).read()).guard.leaks == []
    assert len((await Scene(2 * CLOSED_AFTER + 1, 404, 200, stretch=2.0).read()).guard.leaks) == 1


async def test_open_record_is_no_leak() -> None:
    scene = Scene(CLOSED_AFTER + 1, 200, 200)
    scene.guard.opening(RECORD)
    assert (await scene.read()).guard.leaks == []


async def test_change_has_ended_when_every_replica_shows_it() -> None:
    scene = await Scene(0, 404, 503).read()
    assert not scene.guard.is_shown(RECORD), "a 503 is no answer about the record"
    scene.api.answers = {"one": 503, "two": 404}
    await scene.read()
    assert scene.guard.is_shown(RECORD)

    scene.guard.opened(RECORD)
    assert not (await scene.read()).guard.is_shown(RECORD)
    scene.api.answers = {"one": 200, "two": 200}
    assert (await scene.read()).guard.is_shown(RECORD)
