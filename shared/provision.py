"""Creates the topics, and checks that they lose nothing and keep nothing for too long.

`python -m shared.provision create` makes what is missing and then checks all; `… check` only checks.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from .connection import admin_client
from .errors import Transient
from .settings import KafkaSettings, load
from .topics import ACTIVITIES, MATCHES, MAX_DEAD_LETTER_BYTES, MAX_MESSAGE_BYTES, RECORDS, TOPICS, Topic

VISIBLE = timedelta(seconds=30)
"""A topic that was just created has its leaders, and is known, after this at the latest."""


class Unsafe(Exception):
    """A topic is missing, or is kept in a way that would lose data."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it must be on this cluster."""

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]


def wanted(settings: KafkaSettings, topics: Iterable[Topic] = TOPICS) -> Iterator[Wanted]:
    """Each of these topics as it must be here, and that of its dead letters."""
    safe = {
        "min.insync.replicas": "1" if settings.kafka_replication == 1 else "2",
        "unclean.leader.election.enable": "false",
    }
    for topic in topics:
        here = settings.records_topics if topic is RECORDS else (topic.name,)
        kept = [(name, topic.kept, MAX_MESSAGE_BYTES) for name in here] + [
            (topic.dead_letters, topic.dead_letters_kept, MAX_DEAD_LETTER_BYTES)
        ]
        for name, keep, largest in kept:
            configs = keep.configs() | safe | {"max.message.bytes": str(largest)}
            yield Wanted(
                settings.topic_prefix + name, settings.kafka_partitions, settings.kafka_replication, configs
            )


async def create(settings: KafkaSettings) -> list[str]:
    """Creates the topics that are missing, and waits until they are there; answers their names."""
    async with admin_client(settings) as admin:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted(settings) if topic.name not in existing]
        if missing:
            new = [
                NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=topic.configs)
                for topic in missing
            ]
            for name, code, *why in (await admin.create_topics(new)).topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise Unsafe(
                        f"cannot create topic {name}: {' '.join([for_code(code).__name__, *filter(None, why)])}"
                    )
        names = [topic.name for topic in missing]
        try:
            async with asyncio.timeout(VISIBLE.total_seconds()):
                while len(await _partitions(admin, names)) < len(names):  # noqa: ASYNC110  # Kafka has no event for it
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise Transient("topics were created, but Kafka does not show them yet") from None
        return names


async def check(settings: KafkaSettings, topics: Iterable[Topic] = TOPICS) -> None:
    """Raises Unsafe with all that is wrong with these topics, Transient where Kafka does not answer."""
    must = {topic.name: topic for topic in wanted(settings, topics)}
    async with admin_client(settings) as admin:
        found = await _partitions(admin, list(must))
        configs = await _configs(admin, list(must))
        if missing := must.keys() - (found.keys() & configs.keys()):
            raise Unsafe(
                f"topics are missing, create them with `python -m shared.provision create`: {', '.join(sorted(missing))}"
            )
    faults = [
        fault
        for name, topic in must.items()
        for fault in (*_layout(topic, found[name]), *_kept(topic, configs[name]))
    ]
    faults += _pair(*(found.get(settings.topic_prefix + topic.name) for topic in (ACTIVITIES, MATCHES)))
    if faults:
        raise Unsafe("topics would lose data or keep it for too long: " + "; ".join(faults))


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The partitions of those of these topics that are there, leaders and all."""
    topics = await admin.describe_topics(names) if names else []
    return {
        topic["topic"]: topic["partitions"]
        for topic in topics
        if not any(part["error_code"] for part in (topic, *topic["partitions"]))
    }


def _layout(topic: Wanted, partitions: list[dict[str, Any]]) -> Iterator[str]:
    replicas = min(len(partition["replicas"]) for partition in partitions)
    if replicas < topic.replication:
        yield f"{topic.name} has {replicas} replicas, KAFKA_REPLICATION says {topic.replication}"


def _pair(activities: list[Any] | None, matches: list[Any] | None) -> Iterator[str]:
    if activities and matches and len(activities) != len(matches):
        yield f"{ACTIVITIES.name} has {len(activities)} partitions and {MATCHES.name} {len(matches)}, they must have the same number"


def _kept(topic: Wanted, configs: dict[str, str]) -> Iterator[str]:
    for name, must in topic.configs.items():
        is_ = configs.get(name, "")
        match name:
            case "min.insync.replicas" | "max.message.bytes" | "delete.retention.ms":
                fine = int(is_) >= int(must)
            case "segment.ms" | "max.compaction.lag.ms":
                fine = int(is_) <= int(must)
            case _:
                fine = is_ == must
        if not fine:
            yield f"{topic.name} has {name}={is_}, it must be {must}"


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """The settings of those of these topics that are there: of one that is being deleted Kafka may still show the partitions."""
    responses = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    resources = [resource for response in responses for resource in response.resources]
    if other := {code for code, *_ in resources} - {0, UnknownTopicOrPartitionError.errno}:
        raise Transient(
            f"cannot read the settings of topics: {', '.join(sorted(for_code(code).__name__ for code in other))}"
        )
    return {
        name: {entry[0]: entry[1] for entry in entries} for code, *_, name, entries in resources if not code
    }


async def _create_and_check(settings: KafkaSettings) -> None:
    for name in await create(settings):
        print(f"created {name}")
    await check(settings)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m shared.provision", description=__doc__)
    parser.add_argument("do", choices=["create", "check"])
    do = _create_and_check if parser.parse_args().do == "create" else check
    try:
        asyncio.run(do(load(KafkaSettings)))
    except (Unsafe, Transient) as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
