"""Creates the topics, and checks that they lose nothing.

`python -m shared.provision create` makes what is missing and then checks all; `… check` only checks.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, TopicAlreadyExistsError, for_code

from .broker import DEAD_LETTER_BYTES, client_security
from .errors import Transient
from .settings import KafkaSettings, load
from .topics import ACTIVITIES, MATCHES, MAX_MESSAGE_BYTES, RECORDS, TOPICS, Topic


class Unsafe(Exception):
    """A topic is missing, or is kept in a way that would lose data."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it must be on this cluster."""

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]


def wanted(settings: KafkaSettings) -> Iterator[Wanted]:
    """Every topic that this system needs here, dead letters included."""
    replicas = {"min.insync.replicas": "1" if settings.kafka_replication == 1 else "2", "unclean.leader.election.enable": "false"}
    for topic in TOPICS:
        for name in settings.records_topics if topic is RECORDS else (topic.name,):
            configs = topic.kept.configs() | replicas | {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
            yield Wanted(settings.topic_prefix + name, settings.kafka_partitions, settings.kafka_replication, configs)
        configs = topic.dead_letters_kept.configs() | replicas | {"max.message.bytes": str(DEAD_LETTER_BYTES)}
        yield Wanted(settings.topic_prefix + topic.dead_letters, settings.kafka_partitions, settings.kafka_replication, configs)


async def _admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers.split(","), **client_security(settings))
    try:
        await admin.start()
    except KafkaConnectionError as away:
        raise Transient(f"Kafka does not answer at {settings.kafka_bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS)") from away
    return admin


async def create(settings: KafkaSettings) -> list[str]:
    """Creates the topics that are missing; answers their names."""
    admin = await _admin(settings)
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in wanted(settings) if topic.name not in existing]
        if missing:
            response = await admin.create_topics(
                [NewTopic(name=t.name, num_partitions=t.partitions, replication_factor=t.replication, topic_configs=t.configs) for t in missing]
            )
            for name, code, *why in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise Unsafe(f"cannot create {name}: {for_code(code).__name__} {' '.join(str(part) for part in why if part)}")
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def check(settings: KafkaSettings) -> None:
    """Raises Unsafe with every topic that is missing or would lose data."""
    admin = await _admin(settings)
    try:
        topics = list(wanted(settings))
        found = {entry["topic"]: entry for entry in await admin.describe_topics([topic.name for topic in topics])}
        faults = [fault for topic in topics for fault in _layout(topic, found[topic.name])]
        if not faults:
            configs = await _configs(admin, [topic.name for topic in topics])
            faults = [fault for topic in topics for fault in _settings(topic, configs[topic.name])]
        pair = [len(found[settings.topic_prefix + topic.name]["partitions"]) for topic in (ACTIVITIES, MATCHES)]
        if pair[0] != pair[1]:
            faults.append(f"{ACTIVITIES.name} has {pair[0]} partitions and {MATCHES.name} {pair[1]}: they must have the same number")
    finally:
        await admin.close()
    if faults:
        raise Unsafe("; ".join(faults))


def _layout(topic: Wanted, found: dict[str, Any]) -> Iterator[str]:
    if found["error_code"] or not found["partitions"]:
        yield f"topic {topic.name} is not there: create it with `python -m shared.provision create`"
        return
    replicas = min(len(partition["replicas"]) for partition in found["partitions"])
    if replicas < topic.replication:
        yield f"topic {topic.name} has {replicas} replicas, KAFKA_REPLICATION says {topic.replication}"


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    found = {}
    for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for _, _, _, name, entries in response.resources:
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _settings(topic: Wanted, found: dict[str, str]) -> Iterator[str]:
    for name, must in topic.configs.items():
        is_ = found.get(name, "")
        match name:
            case "cleanup.policy" | "unclean.leader.election.enable":
                fine = is_ == must
            case "segment.ms" | "max.compaction.lag.ms":
                fine = int(is_) <= int(must)
            case _:
                fine = int(is_) >= int(must) or int(is_) == -1
        if not fine:
            yield f"topic {topic.name} has {name}={is_}, it must be {must}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m shared.provision", description=__doc__)
    parser.add_argument("do", choices=["create", "check"])
    do = parser.parse_args().do
    settings = load(KafkaSettings)
    try:
        if do == "create":
            for name in asyncio.run(create(settings)):
                print(f"created {name}")
        asyncio.run(check(settings))
    except (Unsafe, Transient) as refused:
        sys.exit(str(refused))


if __name__ == "__main__":
    main()
