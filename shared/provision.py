"""Creates the topics, and checks that their settings lose no data and keep none for too long.

`python -m shared.provision create` creates the missing topics and then checks all; `… check` only checks.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from .connection import admin_client
from .errors import MisconfiguredError, RetryableError
from .settings import KafkaSettings, load_settings
from .topics import ACTIVITIES, MATCHES, MAX_DEAD_LETTER_BYTES, MAX_MESSAGE_BYTES, RECORDS, TOPICS, Topic

VISIBILITY_TIMEOUT = timedelta(seconds=30)
"""Kafka shows a new topic with its leaders within this time."""
POLL_SECONDS = 0.05
MISSING_AFTER = timedelta(seconds=2)
"""A topic that no broker has shown for this time is missing: some brokers show a new topic later."""


class UnsafeTopicError(MisconfiguredError):
    """A topic is missing, or its settings would lose data. An operator must mend it."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must be on this cluster."""

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]


def topic_specs(settings: KafkaSettings, topics: Iterable[Topic[Any, Any]] = TOPICS) -> Iterator[TopicSpec]:
    """The specification of each topic and of its dead-letter topic."""
    safe = {
        "min.insync.replicas": "1" if settings.kafka_replication == 1 else "2",
        "unclean.leader.election.enable": "false",
    }
    for topic in topics:
        names = settings.records_topics if topic is RECORDS else (topic.name,)
        specs = [(name, topic.retention, MAX_MESSAGE_BYTES) for name in names]
        specs.append((topic.dead_letters, topic.dead_letter_retention, MAX_DEAD_LETTER_BYTES))
        for name, retention, max_bytes in specs:
            configs = retention.configs() | safe | {"max.message.bytes": str(max_bytes)}
            yield TopicSpec(
                settings.topic_prefix + name, settings.kafka_partitions, settings.kafka_replication, configs
            )


async def create(settings: KafkaSettings) -> list[str]:
    """Creates the missing topics, waits until Kafka shows them, and returns their names."""
    async with admin_client(settings) as admin:
        existing = set(await admin.list_topics())
        missing = [topic for topic in topic_specs(settings) if topic.name not in existing]
        if missing:
            new = [
                NewTopic(topic.name, topic.partitions, topic.replication, topic_configs=topic.configs)
                for topic in missing
            ]
            for name, code, *why in (await admin.create_topics(new)).topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    reason = " ".join([for_code(code).__name__, *filter(None, why)])
                    raise UnsafeTopicError(f"cannot create topic {name}: {reason}")
        names = [topic.name for topic in missing]
        try:
            async with asyncio.timeout(VISIBILITY_TIMEOUT.total_seconds()):
                # Kafka has no event for this.
                while not await _have_leaders(admin, names):  # noqa: ASYNC110
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise RetryableError("topics were created, but Kafka does not show them yet") from None
        return names


async def check(settings: KafkaSettings, topics: Iterable[Topic[Any, Any]] = TOPICS) -> None:
    """Checks these topics.

    Raises:
        UnsafeTopicError: with all faults of the topics.
        RetryableError: Kafka does not answer.
    """
    expected = {topic.name: topic for topic in topic_specs(settings, topics)}
    async with admin_client(settings) as admin:
        found, configs = await _visible(admin, list(expected))
        if missing := expected.keys() - (found.keys() & configs.keys()):
            command = "`python -m shared.provision create`"
            raise UnsafeTopicError(
                f"topics are missing, create them with {command}: {', '.join(sorted(missing))}"
            )
    faults = [
        fault
        for name, topic in expected.items()
        for fault in (*_replication_faults(topic, found[name]), *_config_faults(topic, configs[name]))
    ]
    joined = (settings.topic_prefix + topic.name for topic in (ACTIVITIES, MATCHES))
    faults += _pairing_faults(*(found.get(name) for name in joined))
    if faults:
        raise UnsafeTopicError("topics would lose data or keep it for too long: " + "; ".join(faults))


async def _visible(
    admin: AIOKafkaAdminClient, names: list[str]
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, str]]]:
    """The partitions and the settings of the topics that exist."""
    until = time.monotonic() + MISSING_AFTER.total_seconds()
    while True:
        found, configs = await _partitions(admin, names), await _configs(admin, names)
        if len(found) == len(configs) == len(names) or time.monotonic() >= until:
            return found, configs
        await asyncio.sleep(POLL_SECONDS)


async def _partitions(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Topic name -> its partitions, for the topics that exist; one may have no leader at the moment."""
    topics = await admin.describe_topics(names) if names else []
    return {topic["topic"]: topic["partitions"] for topic in topics if not topic["error_code"]}


async def _have_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> bool:
    found = await _partitions(admin, names)
    leaderless = any(partition["error_code"] for partitions in found.values() for partition in partitions)
    return len(found) == len(names) and not leaderless


def _replication_faults(topic: TopicSpec, partitions: list[dict[str, Any]]) -> Iterator[str]:
    replicas = min(len(partition["replicas"]) for partition in partitions)
    if replicas < topic.replication:
        yield f"{topic.name} has {replicas} replicas, KAFKA_REPLICATION is {topic.replication}"


def _pairing_faults(activities: list[Any] | None, matches: list[Any] | None) -> Iterator[str]:
    if activities and matches and len(activities) != len(matches):
        counts = f"{ACTIVITIES.name} has {len(activities)} partitions and {MATCHES.name} {len(matches)}"
        yield f"{counts}, they must have the same number"


def _config_faults(topic: TopicSpec, configs: dict[str, str]) -> Iterator[str]:
    for name, expected in topic.configs.items():
        actual = configs.get(name, "")
        match name:
            case "min.insync.replicas" | "max.message.bytes" | "delete.retention.ms":
                safe = int(actual) >= int(expected)
            case "segment.ms" | "max.compaction.lag.ms":
                safe = int(actual) <= int(expected)
            case _:
                safe = actual == expected
        if not safe:
            yield f"{topic.name} has {name}={actual}, it must be {expected}"


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """Topic name -> its settings, for the topics that exist.

    Kafka may still show the partitions of a topic that is being deleted, but not its settings.
    """
    responses = await admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    )
    resources = [resource for response in responses for resource in response.resources]
    if other := {code for code, *_ in resources} - {0, UnknownTopicOrPartitionError.errno}:
        names_of_errors = ", ".join(sorted(for_code(code).__name__ for code in other))
        raise RetryableError(f"cannot read the settings of topics: {names_of_errors}")
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
    parser.add_argument("action", choices=["create", "check"])
    action = _create_and_check if parser.parse_args().action == "create" else check
    try:
        asyncio.run(action(load_settings(KafkaSettings)))
    except (UnsafeTopicError, RetryableError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
