"""Nothing is said after the lease, and what Kafka takes late is confirmed late."""

import asyncio
import time
from datetime import timedelta
from typing import cast

import pytest

from services.mail_ingest.saying import Lease, LeaseLost, Sayer
from shared.broker import Producer
from shared.bus import Outgoing
from shared.errors import Transient
from shared.topics import ACTIVITIES

MESSAGE = Outgoing(ACTIVITIES, ("t", "m", "i"), None, 1)


class Kafka:
    """Takes messages, after a while."""

    def __init__(self, takes: float = 0.0) -> None:
        self.takes = takes
        self.said: list[Outgoing] = []

    async def send(self, *messages: Outgoing, deadline: timedelta) -> None:  # noqa: ARG002  # as the producer takes it
        """As the producer does."""
        await asyncio.sleep(self.takes)
        self.said += messages


class Confirmations:
    """Counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


def sayer(kafka: Kafka) -> Sayer:
    return Sayer(cast("Producer", kafka))


async def test_it_is_confirmed_when_kafka_has_it() -> None:
    kafka, confirm = Kafka(), Confirmations()

    await sayer(kafka).say(Lease("t/m", "h", timedelta(seconds=5), time.monotonic()), [MESSAGE], confirm)

    assert (kafka.said, confirm.count) == ([MESSAGE], 1)


async def test_nothing_is_said_once_the_lease_may_be_another_s() -> None:
    kafka, confirm = Kafka(), Confirmations()
    lease = Lease("t/m", "h", timedelta(seconds=5), time.monotonic() - 5)

    with pytest.raises(LeaseLost):
        await sayer(kafka).say(lease, [MESSAGE], confirm)

    assert (kafka.said, confirm.count) == ([], 0)


def test_a_lease_counts_from_before_it_was_asked_for_and_ends_when_it_is_lost() -> None:
    lease = Lease("t/m", "h", timedelta(seconds=5), time.monotonic() - 4.9)
    lease.check()
    lease.extended(time.monotonic())
    lease.check()
    lease.lost()
    with pytest.raises(LeaseLost):
        lease.check()


async def test_what_kafka_takes_late_is_confirmed_late() -> None:
    kafka, confirm = Kafka(takes=0.2), Confirmations()
    patient = Sayer(cast("Producer", kafka), patience=timedelta(milliseconds=50))

    with pytest.raises(Transient):
        await patient.say(Lease("t/m", "h", timedelta(seconds=5), time.monotonic()), [MESSAGE], confirm)
    assert confirm.count == 0
    await asyncio.sleep(0.3)

    assert (kafka.said, confirm.count) == ([MESSAGE], 1)
