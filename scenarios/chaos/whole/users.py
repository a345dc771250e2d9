"""The users at tracking's API: owners who track, untrack and dismiss, and readers who poll all the time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any
from urllib.parse import quote

import httpx2

from deploy.local.system import Process

from .history import Answer, Call, Entry, Operation, TrackedTile
from .join import RecordId

CALL_TIMEOUT = 5.0
"""Seconds after which a user gives up."""
PAGE = 200
"""Tracked activities of one answer: more than any record has."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of the API; `status` is None where there was none in time."""

    sent: datetime
    received: datetime
    status: int | None
    body: Mapping[str, Any]


@dataclass
class User:
    """A signed-in user, who calls either replica.

    Args:
        oid: the object id.
        token: of the simulator's authority.
        replicas: of tracking.
        http: without a base address, as the replicas' ports may change.
    """

    oid: str
    token: str
    replicas: Sequence[Process]
    http: httpx2.AsyncClient
    _tiles: dict[TrackedTile, TrackedTile] = field(default_factory=dict)

    async def request(self, method: str, path: str, replica: int, **more: Any) -> Response:
        """One request of the API, by its path below `/api/v1`."""
        sent = datetime.now(UTC)
        url = f"{self.replicas[replica % len(self.replicas)].url}/api/v1{path}"
        headers = {"Authorization": f"Bearer {self.token}"}
        status: int | None = None
        body: dict[str, Any] = {}
        try:
            answered = await self.http.request(method, url, headers=headers, timeout=CALL_TIMEOUT, **more)
            status = answered.status_code
            body = answered.json() if status == httpx2.codes.OK else {}
        except httpx2.HTTPError:
            pass  # killed, hung or not started
        return Response(sent, datetime.now(UTC), status, body)

    async def read(self, record: RecordId, replica: int) -> Answer:
        """The user's timeline of a record."""
        found = await self.request("GET", f"{_path(record)}/timeline?limit={PAGE}", replica)
        return Answer(
            self.oid,
            record,
            found.sent,
            found.received,
            found.status,
            tuple((tile["item"], tile["state"]) for tile in found.body.get("suggestions", ())),
            tuple(self._tile(tile) for tile in found.body.get("tracked", ())),
            found.body.get("has_more", False),
        )

    def _tile(self, tile: Mapping[str, Any]) -> TrackedTile:
        entries = tuple(
            Entry((each["type"], each["id"]), each["by"], datetime.fromisoformat(each["at"]))
            for each in tile["regarding"]
        )
        read = TrackedTile(tile["id"], entries)
        return self._tiles.setdefault(read, read)  # the same one in thousands of answers


def _path(record: RecordId) -> str:
    return f"/records/{record[0]}/{record[1]}"


@dataclass
class Actions:
    """What the owners call, chosen by a seeded generator; the item is one of those that the owner was shown.

    Args:
        owners: who call.
        records: on which they call.
        random: makes all choices.
        calls: gets every call.
    """

    owners: Sequence[User]
    records: Sequence[RecordId]
    random: Random
    calls: list[Call]
    made: Counter[str] = field(default_factory=Counter)
    _shown: dict[tuple[str, RecordId], Answer] = field(default_factory=dict)

    async def act(self) -> None:
        """One call; on another record where the owner has nothing to choose from."""
        names = [operation for operation, weight in WEIGHTS.items() for _ in range(weight)]
        operation, owner = self.random.choice(names), self.random.choice(self.owners)
        records, choice = self.random.sample(self.records, len(self.records)), self.random.random()
        replica = self.random.randrange(len(owner.replicas))
        for record in records:
            answer = await owner.read(record, replica)
            if answer.status == 200:
                self._shown[owner.oid, record] = answer
            known = self._shown.get((owner.oid, record))
            targets = self._targets(operation, owner.oid, record, known) if known else []
            if targets:
                target = targets[int(choice * len(targets))]
                await self._call(operation, owner, record, target, replica)
                return
            if answer.status != 200:
                return

    def _targets(self, operation: Operation, oid: str, record: RecordId, shown: Answer) -> list[str]:
        """What the owner could name."""
        match operation:
            case Operation.UNTRACK:
                return [
                    tile.activity
                    for tile in shown.tracked
                    if any((entry.record, entry.by) == (record, oid) for entry in tile.entries)
                ]
            case Operation.UNDO:
                own = [call for call in self.calls if (call.user, call.record) == (oid, record)]
                return [call.target for call in own if call.operation is Operation.DISMISS]
            case _:
                return [item for item, state in shown.suggestions if state != "pending"]

    async def _call(
        self, operation: Operation, owner: User, record: RecordId, target: str, replica: int
    ) -> None:
        suggestion = f"{_path(record)}/suggestions/{quote(target, safe='')}"
        method, path, body = {
            Operation.TRACK: ("POST", f"{suggestion}/track", {"confirm_private": True}),
            Operation.UNTRACK: ("DELETE", f"{_path(record)}/tracked/{target}", None),
            Operation.DISMISS: ("PUT", f"{suggestion}/dismissal", None),
            Operation.UNDO: ("DELETE", f"{suggestion}/dismissal", None),
        }[operation]
        found = await owner.request(method, path, replica, **({"json": body} if body else {}))
        call = Call(operation, owner.oid, record, target, found.sent, found.received, found.status)
        self.calls.append(call)
        self.made[f"{operation}, answered {found.status or 'nothing in time'}"] += 1


WEIGHTS = {Operation.TRACK: 5, Operation.UNTRACK: 3, Operation.DISMISS: 2, Operation.UNDO: 1}
"""How often users do what."""


async def poll(
    reader: User, records: Sequence[RecordId], random: Random, pause: float, keep: Callable[[Answer], None]
) -> None:
    """Read one record after another through one replica after another, until the task is cancelled."""
    number = 0
    while True:
        for record in random.sample(records, len(records)):
            number += 1
            keep(await reader.read(record, number))
            await asyncio.sleep(pause)


async def read_all(users: Sequence[User], records: Sequence[RecordId]) -> list[Answer]:
    """Every record as every user sees it."""
    reads: list[Awaitable[Answer]] = [user.read(record, 0) for user in users for record in records]
    return [await read for read in reads]
