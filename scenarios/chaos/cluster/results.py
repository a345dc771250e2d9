"""Reads what is on the topics, in the databases and in the answers of the API when all is quiet."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpx2
from pymongo import MongoClient

from deploy.local.cluster import Cluster
from deploy.local.system import System
from scenarios.backlog import PENDING_NOTIFICATIONS, flatten_status, is_backlog_key
from scenarios.chaos.whole.join import RecordId
from scenarios.topic_table import Table, read_topic_table
from simulator.control.client import Simulator

from .api import Api, User
from .judge import ItemId, Tracked
from .load import Mail
from .services import Services

POLL_SECONDS = 1.0
TRACKED_EVENT = b"autocapture.activity.tracked"


def wait_until_idle(services: Services, simulator: Simulator, seconds: float) -> dict[str, Any]:
    """Wait until no process has unfinished work, twice in a row; returns what is unfinished at the end."""
    deadline = time.monotonic() + seconds
    before: dict[str, Any] | None = None
    while True:
        counts = _counts(services, simulator)
        unfinished = {name: count for name, count in counts.items() if count and is_backlog_key(name)}
        if (counts == before and not unfinished) or time.monotonic() > deadline:
            return unfinished
        before = counts
        time.sleep(POLL_SECONDS)


def _counts(services: Services, simulator: Simulator) -> dict[str, Any]:
    counts = {PENDING_NOTIFICATIONS: simulator.counters()["notifications"].get("pending", 0)}
    for replica in services.replicas:
        try:
            status = replica.status()
        except (httpx2.HTTPError, ValueError):
            counts[replica.name] = time.monotonic()  # unknown now: never equal to the last counts
            continue
        counts |= {f"{replica.name}.{key}": value for key, value in flatten_status(status)}
    return counts


async def read_table(system: System, topic: str) -> Table:
    """The table that a topic of the system holds."""
    table, _ = await read_topic_table(system.kafka_bootstrap, f"{system.prefix}{topic}")
    return table


async def read_records(system: System) -> dict[RecordId, dict[str, Any]]:
    values = [json.loads(value) for value, _ in (await read_table(system, "records")).values()]
    return {(record["type"], record["id"]): record for record in values}


async def read_activities(system: System) -> dict[ItemId, str]:
    table = await read_table(system, "activities")
    return {_item(key): json.loads(value)["subject"] for key, (value, _) in table.items()}


async def read_matches(system: System) -> dict[ItemId, frozenset[RecordId]]:
    table = await read_table(system, "matches")
    matches = {_item(key): json.loads(value)["matches"] for key, (value, _) in table.items()}
    return {item: frozenset((each["type"], each["id"]) for each in found) for item, found in matches.items()}


async def read_tracked(system: System) -> dict[str, Tracked]:
    table = await read_table(system, "tracked-activities")
    return {
        key.decode(): _tracked(json.loads(value))
        for key, (value, headers) in table.items()
        if headers["ce_type"] == TRACKED_EVENT
    }


async def read_suggestions(system: System) -> dict[ItemId, frozenset[RecordId]]:
    """The suggestions that tracking has stored."""
    output = await asyncio.to_thread(system.run_command, "services.tracking", "export")
    lines = [json.loads(line) for line in output.splitlines()]
    return {
        (line["mailbox"], line["item"]): frozenset((type_, id_) for type_, id_ in line["matches"])
        for line in lines
    }


def read_stored(cluster: Cluster, system: System) -> list[str]:
    """The subjects of the tracked activities that tracking has stored."""
    with MongoClient[dict[str, Any]](cluster.mongodb_uri) as client:
        documents = client[f"{system.prefix}tracking"]["tracked_activities"].find({"regarding": {"$ne": []}})
        return [document["activity"]["subject"] for document in documents]


async def read_shown(api: Api, mails: Iterable[Mail]) -> dict[tuple[str, str], list[str]]:
    """The subjects of the tracked activities that each owner is shown on each record."""
    pairs: Mapping[tuple[str, str], User] = {(mail.owner.oid, mail.record): mail.owner for mail in mails}
    return {
        (oid, record): [subject async for subject in _pages(api, owner, record)]
        for (oid, record), owner in pairs.items()
    }


async def read_failed(api: Api, mails: Iterable[Mail]) -> dict[str, str]:
    """The states of the suggestions that were to be tracked: subject -> state and reason."""
    found: dict[str, str] = {}
    for mail in mails:
        if mail.must_be_tracked:
            _, timeline = await api.timeline(mail.owner, mail.record)
            for tile in timeline.get("suggestions", ()):
                if tile["item"] == mail.item:
                    found[mail.subject] = f"{tile['state']} ({tile['reason']})"
    return found


async def _pages(api: Api, owner: User, record: str) -> Any:
    query: dict[str, str] = {"limit": "100"}
    while True:
        status, timeline = await api.timeline(owner, record, **query)
        if status != 200:
            return
        for tile in timeline["tracked"]:
            yield tile["activity"]["subject"]
        if timeline["next"] is None:
            return
        query["before"] = timeline["next"]


def _item(key: bytes) -> ItemId:
    _, mailbox, item = key.decode().split("/", 2)
    return mailbox, item


def _tracked(event: dict[str, Any]) -> Tracked:
    entries = frozenset((f"{entry['type']}/{entry['id']}", entry["by"]) for entry in event["regarding"])
    return Tracked(event["subject"], entries)
