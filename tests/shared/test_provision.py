"""Topics are made as the table says, and those that would lose data or keep it for too long are refused."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from shared import provision
from shared.errors import Transient
from shared.provision import Unsafe
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, TOPICS


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    yield admin
    await admin.close()


async def refusal(settings: KafkaSettings, **more: Any) -> str:
    """What is said of topics that were just changed: Kafka knows it a moment later."""
    for _ in range(100):
        try:
            await provision.check(settings, **more)
        except Unsafe as unsafe:
            return str(unsafe).replace(settings.topic_prefix, "")
        await asyncio.sleep(0.05)
    pytest.fail("nothing was refused")


async def test_what_is_created_is_safe_and_creating_again_changes_nothing(settings: KafkaSettings) -> None:
    await provision.check(settings)
    assert await provision.create(settings) == []
    await provision.check(settings)


async def test_every_topic_and_its_dead_letters_are_created(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(
        kafka_bootstrap_servers=kafka,
        kafka_replication=1,
        kafka_partitions=1,
        topic_prefix=topic_prefix,
        records_topics={"crm-a": ["contoso"], "crm-b": ["*"]},
    )
    created = await provision.create(settings)
    names = {name for topic in TOPICS for name in (topic.name, topic.dead_letters)} - {"records"} | {
        "crm-a",
        "crm-b",
    }
    assert {name.removeprefix(topic_prefix) for name in created} == names
    await provision.check(settings)


async def test_a_missing_topic_is_refused_with_what_helps(
    settings: KafkaSettings, admin: AIOKafkaAdminClient
) -> None:
    await admin.delete_topics(
        [f"{settings.topic_prefix}matches", f"{settings.topic_prefix}content-dead-letters"]
    )
    assert (
        await refusal(settings)
        == "topics are missing, create them with `python -m shared.provision create`: content-dead-letters, matches"
    )
    await provision.check(settings, [topic for topic in TOPICS if topic.name not in {"matches", "content"}])


async def test_a_topic_that_is_being_deleted_is_missing(
    settings: KafkaSettings, admin: AIOKafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await provision._partitions(admin, [topic.name for topic in provision.wanted(settings)])

    async def still_shown(*_: object) -> Any:
        return before

    monkeypatch.setattr(provision, "_partitions", still_shown)
    await admin.delete_topics([f"{settings.topic_prefix}matches"])
    assert (
        await refusal(settings)
        == "topics are missing, create them with `python -m shared.provision create`: matches"
    )


@pytest.mark.parametrize(
    "topic, name, value, must",
    [
        ("activities", "cleanup.policy", "delete", "compact"),
        ("records", "cleanup.policy", "compact,delete", "compact"),
        ("graph-notifications", "cleanup.policy", "compact", "delete"),
        ("matches", "delete.retention.ms", "86400000", "1209600000"),
        ("graph-notifications", "retention.ms", "3600000", "604800000"),
        ("graph-notifications", "retention.bytes", "1000000", "-1"),
        ("content", "retention.ms", "-1", "86400000"),
        ("content-dead-letters", "retention.ms", "604800000", "86400000"),
        ("activities", "max.compaction.lag.ms", "604800000", "86400000"),
        ("content", "segment.ms", "86400000", "3600000"),
        ("activities", "max.message.bytes", "100000", "1048588"),
        ("activities-dead-letters", "max.message.bytes", "1048588", "2097176"),
        ("tracked-activities", "unclean.leader.election.enable", "true", "false"),
    ],
)
async def test_a_topic_that_would_lose_data_or_keep_it_for_too_long_is_refused(
    settings: KafkaSettings, admin: AIOKafkaAdminClient, topic: str, name: str, value: str, must: str
) -> None:
    whole = next(
        wanted.configs
        for wanted in provision.wanted(settings)
        if wanted.name == settings.topic_prefix + topic
    )
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, settings.topic_prefix + topic, {**whole, name: value})]
    )
    assert (
        await refusal(settings)
        == f"topics would lose data or keep it for too long: {topic} has {name}={value}, it must be {must}"
    )


async def test_fewer_replicas_than_the_setting_says_are_refused(settings: KafkaSettings) -> None:
    said = await refusal(settings.model_copy(update={"kafka_replication": 3}), topics=[ACTIVITIES])
    assert "activities has 1 replicas, KAFKA_REPLICATION says 3" in said
    assert "activities has min.insync.replicas=1, it must be 2" in said


async def test_activities_and_matches_with_different_partitions_are_refused(
    settings: KafkaSettings, admin: AIOKafkaAdminClient
) -> None:
    (matches,) = [
        topic for topic in provision.wanted(settings) if topic.name == f"{settings.topic_prefix}matches"
    ]
    await admin.create_partitions({matches.name: NewPartitions(5)})
    assert (
        await refusal(settings)
        == "topics would lose data or keep it for too long: activities has 4 partitions and matches 5, they must have the same number"
    )


async def test_kafka_that_does_not_answer_is_no_fault_of_the_topics() -> None:
    with pytest.raises(Transient, match="does not answer"):
        await provision.check(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"))


def command(settings: KafkaSettings, do: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAFKA_REPLICATION": "1",
        "KAFKA_PARTITIONS": "1",
        "TOPIC_PREFIX": settings.topic_prefix,
    }
    return subprocess.run(
        [sys.executable, "-m", "shared.provision", do],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_command(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=kafka, kafka_replication=1, topic_prefix=topic_prefix)
    refused = command(settings, "check")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("topics are missing")
    created = command(settings, "create")
    assert (created.returncode, created.stderr) == (0, "")
    assert f"created {topic_prefix}activities\n" in created.stdout
    for do in ("create", "check"):
        again = command(settings, do)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_the_command_without_kafka() -> None:
    refused = command(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), "create")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(
        "Kafka does not answer at 127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS)"
    )
