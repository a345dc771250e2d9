"""Records that Kafka accepts and aiokafka does not: nothing else is lost with them."""

import logging
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record._crc32c import crc
from aiokafka.record.memory_records import MemoryRecords

from shared.broker import KafkaClient, TopicPartition
from shared.clock import system_clock
from shared.messages import InvalidMessage, TombstoneMessage, ValueMessage
from shared.record_batches import UNREADABLE_NAME, ReadableRecords
from shared.settings import KafkaSettings
from shared.topics import ACTIVITIES, RECORDS
from tests.support.raw_batches import GZIP, NO_COMPRESSION, RawMessage, encode_batch

from .examples import EMAIL, SUBJECT
from .kafka_world import KafkaObserver, Sink, eventually, member

BAD_NAMES = (b"\xff", b"Zusatz-\xfcber", b"\xed\xa0\x80", SUBJECT.encode() + b"\xc3")
"""Not UTF-8: any byte, Latin-1, half a surrogate pair, a name that ends within a character."""


def activity(item: str, *names: bytes) -> RawMessage:
    value = EMAIL.model_copy(update={"item": item}).model_dump_json().encode()
    headers: list[tuple[bytes, bytes | None]] = [
        (b"ce_type", EMAIL.ce_type.encode()),
        (b"ce_version", b"1"),
        *((name, SUBJECT.encode()) for name in names),
    ]
    return RawMessage(f"contoso/mia/{item}".encode(), value, headers)


def record(number: int, *names: bytes) -> RawMessage:
    value = b'{"tenant":"contoso","type":"account","id":"%d"}' % number
    return RawMessage(b"contoso/account/%d" % number, value, [(name, None) for name in names])


# -- the parser -------------------------------------------------------------------------------------------


ATTRIBUTES = 63
"""The attributes of the first record, behind the batch's header and two bytes of the record's length."""


def with_checksum(batch: bytearray) -> bytes:
    """The batch, with the checksum of its changed bytes."""
    batch[17:21] = struct.pack(">I", crc(bytes(batch[21:])))
    return bytes(batch)


def read(data: bytes, start: int = 0) -> Iterator[Any]:
    """As aiokafka's fetcher reads what Kafka returned for a partition."""
    tp = TopicPartition("activities", 0)
    return iter(PartitionRecords(tp, ReadableRecords(data), None, start, None, None, True, 0))


@pytest.mark.parametrize("compression", [NO_COMPRESSION, GZIP])
@pytest.mark.parametrize("bad", [0, 3, 6])
def test_a_bad_name_changes_nothing_but_itself(bad: int, compression: int) -> None:
    names = [BAD_NAMES if number == bad else () for number in range(7)]
    data = encode_batch([record(number, *each) for number, each in enumerate(names)], compression)
    found = list(read(data))
    assert [(each.offset, each.key) for each in found] == [
        (number, b"contoso/account/%d" % number) for number in range(7)
    ]
    assert [[name for name, _ in each.headers] for each in found] == [
        [UNREADABLE_NAME] * len(each) for each in names
    ]


@pytest.mark.parametrize("attributes", [0x01, 0x7F, 0x80, 0xFF])
def test_any_attributes_of_a_record_are_read(attributes: int) -> None:
    data = bytearray(encode_batch([record(0), record(1)]))
    data[ATTRIBUTES] = attributes
    assert [each.key for each in read(with_checksum(data))] == [b"contoso/account/0", b"contoso/account/1"]


def test_a_readable_batch_is_read_as_aiokafka_reads_it() -> None:
    data = encode_batch([activity(f"{number}", "über".encode()) for number in range(5)])
    as_aiokafka_reads = [
        (each.offset, each.key, each.value, list(each.headers)) for each in MemoryRecords(data).next_batch()
    ]
    assert [
        (each.offset, each.key, each.value, list(each.headers)) for each in read(data)
    ] == as_aiokafka_reads


def test_reading_goes_on_from_the_middle_of_a_batch_and_in_the_next_one() -> None:
    first = encode_batch([record(0), record(1, b"\xff"), record(2)])
    second = bytearray(encode_batch([record(3), record(4, b"\xff")]))
    second[7] = 3  # base offset; no part of the checksum
    assert [each.offset for each in read(first + bytes(second), start=1)] == [1, 2, 3, 4]


def test_a_batch_that_is_corrupt_is_an_error() -> None:
    data = bytearray(encode_batch([record(0), record(1)]))
    data[60] = 3  # number of records
    with pytest.raises(CorruptRecordException):
        list(read(with_checksum(data)))


# -- on Kafka ---------------------------------------------------------------------------------------------


async def test_the_record_becomes_a_dead_letter_and_the_others_are_processed(
    settings: KafkaSettings, observer: KafkaObserver, caplog: pytest.LogCaptureFixture
) -> None:
    await observer.write_batch(ACTIVITIES, [activity("1"), activity("2", *BAD_NAMES), activity("3")])
    await observer.write_activities("4")
    sink = Sink()
    with caplog.at_level(logging.WARNING):
        async with member(settings, sink):
            await eventually(lambda: sink.items == ["1", "3", "4"])
        (letter,) = await observer.dead_letters()
    assert await observer.committed() == {0: 4}
    bad = activity("2")
    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (bad.key, bad.value)
    assert (headers["dead_letter_offset"], headers["dead_letter_field"]) == (b"1", b"headers")
    assert SUBJECT.encode() not in b" ".join([*headers.values(), *(name.encode() for name in headers)])
    (line,) = [line.__dict__ for line in caplog.records if line.name == "shared.dead_letters"]
    assert (line["topic"], line["partition"], line["offset"]) == (observer.full_name(ACTIVITIES), 0, 1)


async def test_a_table_is_read_past_the_record(settings: KafkaSettings, observer: KafkaObserver) -> None:
    await observer.write_batch(RECORDS, [record(0), record(1, b"\xff"), record(2)], compression=GZIP)
    await observer.write_batch(RECORDS, [RawMessage(b"contoso/account/0", None, [(b"\xff", b"")])])
    await observer.write(RECORDS, b"contoso/account/3", None, partition=0)
    kafka = KafkaClient(settings, "matcher", system_clock)
    await kafka.start()
    try:
        found = [message async for chunk in kafka.read_table(RECORDS, [0]) for message in chunk.messages]
    finally:
        await kafka.stop()
    assert [(message.key and message.key.id, type(message)) for message in found] == [
        ("0", ValueMessage),
        ("1", InvalidMessage),
        ("2", ValueMessage),
        ("0", InvalidMessage),
        ("3", TombstoneMessage),
    ]
