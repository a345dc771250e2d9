"""What is probably not meant in a record that is taken: matching takes it verbatim."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from shared.addresses import trimmed
from shared.records import RECORD_MODELS, AnyRecord, Lead

PLAIN_ADDRESS = re.compile(r"[^\s@<>()\[\],;:\"]+@[^\s@<>()\[\],;:\"]*[^\s@<>()\[\],;:\".]")
PLURALS = {f"{kind}s" for kind in RECORD_MODELS} | {"opportunities"}


def find_warnings(line: bytes, record: AnyRecord) -> Iterator[str]:
    """Yields a sentence for each part of a valid record that is probably not meant.

    Args:
        line: the record as it is published.
        record: the same record, read.
    """
    kind = record.type.casefold()
    if record.type not in RECORD_MODELS and (kind in RECORD_MODELS or kind in PLURALS):
        yield f"type: {record.type!r} is a custom type, and differs from {', '.join(RECORD_MODELS)}"
    for path, address in _addresses(record):
        if not PLAIN_ADDRESS.fullmatch(trimmed(address)):
            yield f"{path}: this is not a plain address like ann@fabrikam.example, and is compared as it is"
    if _has_no_zone(json.loads(line).get("modified_on")):
        yield "modified_on: the time has no zone, and is taken as UTC"


def _addresses(record: AnyRecord) -> Iterator[tuple[str, str]]:
    for number, address in enumerate(record.emails or ()):
        if address:
            yield f"emails.{number}", address
    if isinstance(record, Lead) and record.contact and record.contact.email:
        yield "contact.email", record.contact.email


def _has_no_zone(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is None
    except ValueError:
        return False
