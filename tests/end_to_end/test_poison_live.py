"""Poisoned messages between good ones, on every topic that a running service reads."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from deploy.local.stack import LocalStack
from shared.keys import RecordKey
from shared.messages import InvalidMessage, KafkaRecord, ValueMessage, decode, decode_record
from shared.record_batches import patch_aiokafka_record_batches
from shared.topics import (
    ACTIVITIES,
    CONTENT,
    CONTENT_REQUESTS,
    GRAPH_NOTIFICATIONS,
    MAILBOXES,
    MATCHES,
    RECORDS,
    Topic,
)
from tests.support.poison import SECRET, some_poisoned
from tests.support.raw_batches import GZIP, RawMessage, send_batch

from .office import CARLA, DEAL, Office
from .topics_reader import Pairs
from .waiting import wait_until
from .world import PARTITIONS, SERVICES, World, running_world

pytestmark = pytest.mark.timeout(900)  # a whole system starts first, on a busy machine

READ_BY_SERVICES = (RECORDS, ACTIVITIES, MATCHES, MAILBOXES, GRAPH_NOTIFICATIONS, CONTENT_REQUESTS, CONTENT)
MESSAGES_PER_BATCH = 20
FEW, MANY = 20, 200
"""Poisoned messages on each topic; in the section `poison` the second."""
LEAD = (
    b'{"tenant":"%s","type":"lead","id":"poisoned","name":"Lead","version":3,"readers":["*"],'
    b'"modified_on":"2026-11-20T09:12:00Z","emails":["lead@adatum.example",null],'
    b'"contact":{"name":"Ann","email":"lead@adatum.example"},"contact_id":"c1"}'
)
Position = tuple[str, int, int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("system")


@pytest.fixture(scope="module")
async def office(stack: LocalStack, folder: Path) -> AsyncIterator[Office]:
    patch_aiokafka_record_batches()  # for the reader of this process
    env_of = {"matcher": {"MATCHER_FOREIGN_WRITE_CHECK_EVERY": "PT1S"}}
    async with running_world(stack, folder, env_of=env_of) as world:
        ann, ben = [await world.add_user(f"{name}@contoso.example") for name in ("ann", "ben")]
        office = Office(world, ann, ben)
        await world.publish({"type": "contact", "id": "carla", "name": "Carla", "emails": [CARLA]})
        await office.publish_deal()
        yield office


async def check_good_mail(office: Office, subject: str) -> None:
    """A mail from Carla arrives, is tracked, and is seen by Ben."""
    item = await office.send_to_ann(subject)
    await office.wait_for_state(office.ann, subject, "untracked")
    assert await office.track(item) == 202
    await office.wait_until_tracked(subject)


def good_messages(office: Office, topic: Topic[Any, Any]) -> list[RawMessage]:
    """The last message of each type that the services have written, about another item or mailbox."""
    world = office.world
    if topic is RECORDS:
        tenant = world.tenant.id.encode()
        return [RawMessage(tenant + b"/lead/poisoned", LEAD % tenant)]
    by_type: dict[Any, KafkaRecord] = {}
    for record in world.topics.log[topic.name]:
        if record.value is not None:
            by_type[dict(record.headers).get("ce_type")] = record
    return [_about_another(topic, record) for record in by_type.values()]


def _about_another(topic: Topic[Any, Any], record: KafkaRecord) -> RawMessage:
    headers = [(name.encode(), value) for name, value in record.headers]
    key = record.key or b""
    if topic is MAILBOXES:
        # mail-ingest takes it into its database, and would wait for ever to read an enrolled one.
        removed = re.sub(rb'"status":"[^"]*"', b'"status":"removed"', record.value or b"")
        return RawMessage(key.rpartition(b"/")[0] + b"/nobody", removed, headers)
    value = re.sub(rb'"item":"[^"]*"', b'"item":"poisoned"', record.value or b"")
    value = re.sub(rb'"request":"[^"]*"', b'"request":"poisoned"', value)
    if topic in (ACTIVITIES, MATCHES):
        key = b"/".join([*key.split(b"/", 2)[:2], b"poisoned"])
    return RawMessage(key, value, headers)


async def write(producer: AIOKafkaProducer, name: str, messages: list[RawMessage]) -> None:
    """Writes messages to the partitions of their keys, several in a batch."""
    by_partition = defaultdict(list)
    numbers = range(PARTITIONS)
    for message in messages:
        by_partition[DefaultPartitioner()(message.key, numbers, numbers)].append(message)
    for partition, there in by_partition.items():
        for start in range(0, len(there), MESSAGES_PER_BATCH):
            await send_batch(producer, name, there[start : start + MESSAGES_PER_BATCH], partition, GZIP)


def invalid_positions(world: World, topic: Topic[Any, Any]) -> dict[Position, KafkaRecord]:
    """The messages on a topic that no reader can read."""
    found = {}
    for record in world.topics.log[topic.name]:
        message = decode_record(["*"], record) if topic is RECORDS else decode(topic, record)
        if isinstance(message, InvalidMessage):
            found[record.topic, record.partition, record.offset] = record
    return found


def check_dead_letters(world: World, topic: Topic[Any, Any]) -> None:
    """Each invalid message has a dead letter with its bytes, and with nothing of them in the reason."""
    letters = {}
    for key, value, headers in world.topics.dead_letters(topic):
        position = (
            headers["dead_letter_topic"],
            int(headers["dead_letter_partition"]),
            int(headers["dead_letter_offset"]),
        )
        letters[position] = key, value
        assert SECRET not in " ".join(headers.values()), f"{topic.name}: {headers}"
    invalid = invalid_positions(world, topic)
    assert invalid.keys() <= letters.keys(), f"{topic.name}: {invalid.keys() - letters.keys()}"
    originals = {
        (record.topic, record.partition, record.offset): record for record in world.topics.log[topic.name]
    }
    for position, letter in letters.items():
        original = originals[position]
        assert letter == (original.key, original.value if topic is not CONTENT else None)


async def final_matches(world: World) -> dict[Any, Pairs]:
    """What `matches` holds, when nothing waits, tracking has stored it, and foreign matches are overruled."""

    def on_topic() -> dict[Any, Pairs]:
        last = {record.key: decode(MATCHES, record) for record in world.topics.log[MATCHES.name]}
        return {
            message.key: {(match.type, match.id) for match in message.value.matches}
            for message in last.values()
            if isinstance(message, ValueMessage)
        }

    await world.wait_until_idle(240)
    await wait_until(lambda: on_topic() == world.suggestions())
    return on_topic()


async def check_api(office: Office) -> None:
    """Every read of the API answers, also of the records that poisoned messages name."""
    records = await office.ann.request("GET", "/records", params={"limit": "100"})
    assert records.status_code == 200, records.text
    stored = office.world.database("tracking").records.find({}, {"_id": 1})
    keys = [RecordKey(*each["_id"].split("/")) for each in stored]
    for key in {*keys, RecordKey("", *DEAL), RecordKey("", "lead", "poisoned")}:
        path = f"/records/{quote(key.type, safe='')}/{quote(key.id, safe='')}/timeline"
        assert (await office.ann.request("GET", path)).status_code in {200, 404}
    assert (await office.ann.request("GET", "/me")).status_code == 200


@pytest.mark.sized("poison")
async def test_poisoned_messages_stop_nothing_and_change_nothing_else(
    office: Office, stack: LocalStack, folder: Path, full_size: bool
) -> None:
    world = office.world
    count = MANY if full_size else FEW
    await check_good_mail(office, "Before")
    await world.wait_until_idle()
    await world.topics.catch_up()
    bases = {topic: good_messages(office, topic) for topic in READ_BY_SERVICES}
    assert all(bases.values()), "each topic has a good message to begin with"

    async with AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap) as producer:
        for topic, goods in bases.items():
            name = world.system.prefix + topic.name
            for number, good in enumerate(goods):
                await write(producer, name, some_poisoned(topic, good, count // len(goods), seed=number))
            await office.send_to_ann(f"After {topic.name}")
    for topic in READ_BY_SERVICES:
        await office.wait_for_state(office.ann, f"After {topic.name}", "untracked")
    await check_good_mail(office, "Afterwards")
    before = await final_matches(world)
    assert all(world.system[name].running for name in SERVICES)
    for topic in READ_BY_SERVICES:
        check_dead_letters(world, topic)
    await check_api(office)

    services = [world.system[name] for name in SERVICES]
    await asyncio.gather(*(asyncio.to_thread(process.kill) for process in services))
    await world.start(*services)
    assert await final_matches(world) == before
    await check_api(office)
    await check_good_mail(office, "After the restart")
    for log in folder.rglob("*.log"):
        assert SECRET not in log.read_text(errors="replace"), log.name
