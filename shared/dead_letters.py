"""Dead letters: the messages that a reader could not process, with the reason.

A dead letter holds the original bytes (of `content` the key alone, of an oversized message none). Its
headers hold the position, the error and the field path, and never a value of the message.
"""

import logging
import re
from collections.abc import Sequence
from typing import Any

from .cluster import KafkaCluster
from .errors import InvalidMessageError
from .messages import ENVELOPE_HEADERS, Headers, ReceivedMessage
from .producer import message_size
from .telemetry import DEAD_LETTERS
from .topics import MAIL_INGEST, MATCHER, MAX_DEAD_LETTER_BYTES, TRACKING, Topic

log = logging.getLogger(__name__)

ERROR_HEADER_MAX = 200
"""Characters of the error and of the field path."""

Refusal = tuple[ReceivedMessage[Any, Any], InvalidMessageError]
"""A message and why it cannot be processed."""


async def write_dead_letters(
    cluster: KafkaCluster, topic: Topic[Any, Any], refusals: Sequence[Refusal]
) -> None:
    """Writes messages to the dead-letter topic of `topic`, then counts and logs them.

    Raises:
        RetryableError: Kafka does not acknowledge them.
    """
    name = cluster.full_name(topic.dead_letters)
    letters = [(name, *encode_dead_letter(message, error)) for message, error in refusals]
    await cluster.producer.send_encoded(letters, max_bytes=MAX_DEAD_LETTER_BYTES)
    for message, error in refusals:
        DEAD_LETTERS.labels(topic.name).inc()
        position = message.position
        at = {"topic": position.topic, "partition": position.partition, "offset": position.offset}
        log.warning(
            "invalid message, dead letter written", extra=at | {"field": error.field, "error": error.reason}
        )


ORDER = rb"\d{1,20}(/\d{1,20}\.\d{1,20})?"
"""Version, epoch and sequence at the end of an id."""
ENVELOPE_FORMS = {
    "ce_specversion": rb"1\.0",
    "ce_source": f"{MAIL_INGEST}|{MATCHER}|{TRACKING}".encode(),
    "ce_time": rb"[\dT:.+-]{1,40}",
    "ce_version": rb"\d{1,20}",
    "ce_epoch": rb"\d{1,20}",
    "ce_sequence": rb"\d{1,20}",
    "content-type": rb"application/json",
    "ce_resent": rb"true",
}
"""Name of a header of ours -> the form of its value. The other two repeat what is known: type and key."""


def _is_of_envelope(message: ReceivedMessage[Any, Any], name: str, value: bytes | None) -> bool:
    if value is None or name not in ENVELOPE_HEADERS:
        return False
    if name == "ce_type":
        return value.decode(errors="replace") in message.topic.type_names
    if name == "ce_id":
        key, _, order = value.rpartition(b"@")
        return key == message.record.key and bool(re.fullmatch(ORDER, order))
    return bool(re.fullmatch(ENVELOPE_FORMS[name], value))


def encode_dead_letter(
    message: ReceivedMessage[Any, Any], error: InvalidMessageError
) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of a dead letter; only the headers when the original is too large."""
    original = message.record
    # Our envelope holds only ids. Any other header may hold anything, so it is not copied.
    envelope: Headers = [
        (name, value)
        for name, value in original.headers
        if message.topic.value_types and _is_of_envelope(message, name, value)
    ]
    description: Headers = [
        ("dead_letter_topic", message.position.topic.encode()),
        ("dead_letter_partition", str(message.position.partition).encode()),
        ("dead_letter_offset", str(message.position.offset).encode()),
        ("dead_letter_error", error.reason[:ERROR_HEADER_MAX].encode()),
        ("dead_letter_field", error.field[:ERROR_HEADER_MAX].encode()),
    ]
    headers = envelope + description
    value = original.value if message.topic.copied_to_dead_letters else None
    if message_size(original.key, value, headers) > MAX_DEAD_LETTER_BYTES:
        return None, None, description
    return original.key, value, headers
