"""Reads every record that Kafka accepts, also those on which aiokafka 0.14 raises.

| Kafka accepts | aiokafka |
|---|---|
| any bytes as the name of a header; C clients write them | decodes them strictly |
| any byte as the attributes of a record, which mean nothing | reads a number of one or more bytes |

aiokafka reads a batch of records as a whole, so that one such record ends its partition for every reader, and
again after each restart. With the patch it is read like any other; a name that is not UTF-8 is
`UNREADABLE_NAME`, and `messages.py` makes an invalid message of the record.
"""

import struct
from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint

OFFSET_AND_LENGTH = struct.Struct(">qi")
"""The begin of a batch; the length is that of the rest."""
UNREADABLE_NAME = "\udcff"
"""Stands for a name that is not UTF-8. A lone surrogate is in no text that was decoded from UTF-8."""


def patch_aiokafka_record_batches() -> None:
    """Makes all consumers of the process read their batches with `ReadableRecords`."""
    fetcher.MemoryRecords = ReadableRecords


class ReadableRecords:
    """The batches of records that Kafka returned for a partition, as aiokafka's fetcher reads them.

    Args:
        data: their bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._unread = memoryview(data)
        self._records = MemoryRecords(data)

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> "_ReadableBatch":
        _, length = OFFSET_AND_LENGTH.unpack_from(self._unread)
        size = OFFSET_AND_LENGTH.size + length
        data, self._unread = self._unread[:size], self._unread[size:]
        return _ReadableBatch(self._records.next_batch(), data)


class _ReadableBatch:
    """A batch of aiokafka. Where it cannot read a record, the batch is read again by `_LenientBatch`.

    Args:
        batch: of aiokafka.
        data: its bytes.
    """

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batch
        except (UnicodeDecodeError, CorruptRecordException):
            # From its start; the fetcher passes over the records that it has. A batch that is corrupt
            # otherwise raises here again.
            yield from _LenientBatch(self._data)


class _LenientBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka has no types
    """Reads a batch in Python, which takes about 10 times as long."""

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _LenientBytes(self._buffer)

    def _read_msg(self) -> Any:
        _, attributes = decode_varint(self._buffer, self._pos)  # behind the length
        self._buffer[attributes] = 0
        return super()._read_msg()


class _LenientBytes(bytearray):
    """Bytes whose parts are decoded to `UNREADABLE_NAME` where they are not UTF-8."""

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        return part if isinstance(part, int) else _LenientBytes(part)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        try:
            return super().decode(encoding, errors)
        except UnicodeDecodeError:
            return UNREADABLE_NAME
