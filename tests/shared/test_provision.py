"""Topics are created by the table; a topic that would lose data, or keep it for too long, is refused."""

import asyncio
import itertools
import subprocess
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import LeaderNotAvailableError

from shared import provision
from shared.errors import RetryableError
from shared.provision import UnsafeTopicError
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, TOPICS
from tests.support import forks
from tests.support.topics import delete_topics

MISSING = "topics are missing, create them with `python -m shared.provision create`"
UNSAFE = "topics would lose data or keep it for too long"


def settings_for(kafka: str, prefix: str) -> KafkaSettings:
    return KafkaSettings(
        kafka_bootstrap_servers=kafka, kafka_replication=1, kafka_partitions=1, topic_prefix=prefix
    )


@pytest.fixture
async def settings(kafka: str, topic_prefix: str) -> KafkaSettings:
    """All topics, which the test may delete and change."""
    settings = settings_for(kafka, topic_prefix)
    await provision.create(settings)
    return settings


@pytest.fixture(scope="module")
async def lasting(kafka: str) -> AsyncIterator[KafkaSettings]:
    """All topics, which each test leaves as they were."""
    settings = settings_for(kafka, f"test-{uuid4().hex[:12]}-")
    await provision.create(settings)
    yield settings
    await delete_topics(kafka, settings.topic_prefix)


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    yield admin
    await admin.close()


async def refusal(settings: KafkaSettings, **more: Any) -> str:
    """The error of topics that were just changed: Kafka shows a change a moment later."""
    for _ in range(100):
        try:
            await provision.check(settings, **more)
        except UnsafeTopicError as error:
            return str(error).replace(settings.topic_prefix, "")
        await asyncio.sleep(0.05)
    pytest.fail("no topic was refused")


async def until_accepted(settings: KafkaSettings) -> None:
    """Waits until topics that were just changed are safe."""
    async with asyncio.timeout(5):
        while True:
            try:
                return await provision.check(settings)
            except UnsafeTopicError:
                await asyncio.sleep(0.05)


async def test_created_topics_are_safe_and_a_second_creation_changes_nothing(lasting: KafkaSettings) -> None:
    await provision.check(lasting)
    assert await provision.create(lasting) == []
    await provision.check(lasting)


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


async def test_a_missing_topic_is_refused_with_the_command_that_creates_it(
    settings: KafkaSettings, admin: AIOKafkaAdminClient
) -> None:
    await admin.delete_topics(
        [f"{settings.topic_prefix}matches", f"{settings.topic_prefix}content-dead-letters"]
    )
    expected = f"{MISSING}: content-dead-letters, matches"
    message = await refusal(settings)
    for _ in range(100):  # Kafka deletes one topic after another
        if message == expected:
            break
        await asyncio.sleep(0.05)
        message = await refusal(settings)
    assert message == expected
    await provision.check(settings, [topic for topic in TOPICS if topic.name not in {"matches", "content"}])


async def test_a_topic_that_is_being_deleted_is_missing(
    settings: KafkaSettings, admin: AIOKafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await provision._partitions(admin, [topic.name for topic in provision.topic_specs(settings)])

    async def still_shown(*_: object) -> Any:
        return before

    monkeypatch.setattr(provision, "_partitions", still_shown)
    await admin.delete_topics([f"{settings.topic_prefix}matches"])
    assert await refusal(settings) == f"{MISSING}: matches"


async def test_a_topic_that_a_broker_shows_later_is_not_missing(
    lasting: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Services start right after the command has created the topics."""
    shown = provision._partitions
    answers = itertools.count()

    async def shown_later(admin: AIOKafkaAdminClient, names: list[str]) -> Any:
        return {} if next(answers) < 3 else await shown(admin, names)

    monkeypatch.setattr(provision, "_partitions", shown_later)
    await provision.check(lasting)


async def test_a_topic_without_a_leader_is_not_missing(
    lasting: KafkaSettings, admin: AIOKafkaAdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its brokers are away or elect one, a service waits, and does not refuse to start."""
    describe = AIOKafkaAdminClient.describe_topics

    async def without_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> Any:
        topics = await describe(admin, names)
        for topic in topics:
            topic["partitions"][0] |= {"error_code": LeaderNotAvailableError.errno, "leader": -1}
        return topics

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_topics", without_leaders)
    await provision.check(lasting)
    assert not await provision._have_leaders(admin, [f"{lasting.topic_prefix}matches"])


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
async def test_an_unsafe_topic_setting_is_refused(
    lasting: KafkaSettings, admin: AIOKafkaAdminClient, topic: str, name: str, value: str, must: str
) -> None:
    full_name = lasting.topic_prefix + topic
    safe = next(spec.configs for spec in provision.topic_specs(lasting) if spec.name == full_name)
    try:
        await configure(admin, full_name, safe | {name: value})
        assert await refusal(lasting) == f"{UNSAFE}: {topic} has {name}={value}, it must be {must}"
    finally:
        await configure(admin, full_name, safe)
        await until_accepted(lasting)


async def configure(admin: AIOKafkaAdminClient, topic: str, configs: dict[str, str]) -> None:
    """Replaces all settings of a topic."""
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])


async def test_fewer_replicas_than_the_setting_are_refused(lasting: KafkaSettings) -> None:
    message = await refusal(lasting.model_copy(update={"kafka_replication": 3}), topics=[ACTIVITIES])
    assert "activities has 1 replicas, KAFKA_REPLICATION is 3" in message
    assert "activities has min.insync.replicas=1, it must be 2" in message


async def test_activities_and_matches_with_different_partitions_are_refused(
    settings: KafkaSettings, admin: AIOKafkaAdminClient
) -> None:
    (matches,) = [
        topic for topic in provision.topic_specs(settings) if topic.name == f"{settings.topic_prefix}matches"
    ]
    await admin.create_partitions({matches.name: NewPartitions(2)})
    fault = "activities has 1 partitions and matches 2, they must have the same number"
    assert await refusal(settings) == f"{UNSAFE}: {fault}"


async def test_an_unreachable_kafka_is_retryable() -> None:
    with pytest.raises(RetryableError, match="does not answer"):
        await provision.check(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"))


def command(settings: KafkaSettings, action: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "KAFKA_REPLICATION": "1",
        "KAFKA_PARTITIONS": "1",
        "TOPIC_PREFIX": settings.topic_prefix,
    }
    return forks.run("shared.provision", action, env=environment)


def test_the_command_creates_and_checks(kafka: str, topic_prefix: str) -> None:
    settings = KafkaSettings(kafka_bootstrap_servers=kafka, kafka_replication=1, topic_prefix=topic_prefix)
    refused = command(settings, "check")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("topics are missing")
    created = command(settings, "create")
    assert (created.returncode, created.stderr) == (0, "")
    assert f"created {topic_prefix}activities\n" in created.stdout
    for action in ("create", "check"):
        again = command(settings, action)
        assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_the_command_names_the_unreachable_address() -> None:
    refused = command(KafkaSettings(kafka_bootstrap_servers="127.0.0.1:1"), "create")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(
        "Kafka does not answer at 127.0.0.1:1 (KAFKA_BOOTSTRAP_SERVERS)"
    )
