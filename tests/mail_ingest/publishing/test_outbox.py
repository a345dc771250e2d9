"""The outbox publisher: nothing without a lease, and a late acknowledgement for a late message."""

import asyncio
import time
from datetime import timedelta
from typing import cast

import pytest

from services.mail_ingest.publishing.outbox import OutboxPublisher
from services.mail_ingest.store.lease import Lease, LeaseLostError
from shared.broker import Producer
from shared.errors import RetryableError
from shared.keys import ItemKey, MailboxKey
from shared.messages import OutgoingMessage
from shared.topics import ACTIVITIES

MESSAGE = OutgoingMessage(ACTIVITIES, ItemKey("t", "m", "i"), None, 1)
DURATION = timedelta(seconds=5)


class SlowProducer:
    """Stores messages after a while."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.sent: list[OutgoingMessage] = []

    async def send(self, *messages: OutgoingMessage, deadline: timedelta) -> None:  # noqa: ARG002  # the producer's signature
        await asyncio.sleep(self.seconds)
        self.sent += messages


class Acknowledgements:
    """Counts the acknowledgements."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


def publisher(kafka: SlowProducer, **settings: timedelta) -> OutboxPublisher:
    return OutboxPublisher(cast("Producer", kafka), **settings)


def lease(age: float = 0.0) -> Lease:
    return Lease(MailboxKey("t", "m"), "h", DURATION, time.monotonic() - age)


async def test_published_message_is_acknowledged() -> None:
    kafka, acknowledge = SlowProducer(), Acknowledgements()

    await publisher(kafka).publish(lease(), [MESSAGE], acknowledge)

    assert (kafka.sent, acknowledge.count) == ([MESSAGE], 1)


async def test_nothing_is_published_when_the_lease_may_have_ended() -> None:
    kafka, acknowledge = SlowProducer(), Acknowledgements()

    with pytest.raises(LeaseLostError):
        await publisher(kafka).publish(lease(age=5), [MESSAGE], acknowledge)

    assert (kafka.sent, acknowledge.count) == ([], 0)


def test_lease_counts_from_its_request_and_ends_when_it_is_revoked() -> None:
    almost_over = lease(age=4.9)
    almost_over.check()
    almost_over.extend(time.monotonic())
    almost_over.check()
    almost_over.revoke()
    with pytest.raises(LeaseLostError):
        almost_over.check()


async def test_message_that_kafka_stores_late_is_acknowledged_late() -> None:
    kafka, acknowledge = SlowProducer(seconds=0.2), Acknowledgements()
    impatient = publisher(kafka, timeout=timedelta(milliseconds=50))

    with pytest.raises(RetryableError):
        await impatient.publish(lease(), [MESSAGE], acknowledge)
    assert acknowledge.count == 0
    await asyncio.sleep(0.3)

    assert (kafka.sent, acknowledge.count) == ([MESSAGE], 1)
