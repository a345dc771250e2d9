"""The commands `explain`, `check` and `addresses`: each returns the lines that it prints."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from shared.broker import KafkaClient
from shared.clock import Clock
from shared.errors import InvalidMessageError
from shared.keys import RecordKey, join_key
from shared.records import read_record
from shared.topics import MATCHER, RECORDS

from .domain.directory import Directory
from .domain.directory_entry import RecordRef
from .domain.matching import Explanation
from .domain.matching import explain as explain_matches
from .records.loader import apply_record_message
from .records.warnings import find_warnings
from .rules_file import load_rules
from .settings import MatcherSettings


async def read_directory(settings: MatcherSettings, clock: Clock) -> Directory:
    """All records that are on Kafka now; raises RetryableError when Kafka does not answer."""
    kafka = KafkaClient(settings, MATCHER, clock)
    directory = Directory(load_rules(settings.rules_file))
    await kafka.start()
    try:
        async for chunk in kafka.read_table(RECORDS):
            for message in chunk.messages:
                apply_record_message(directory, message)
    finally:
        await kafka.stop()
    return directory


async def list_addresses(settings: MatcherSettings, clock: Clock, tenant: str | None) -> AsyncIterator[str]:
    """The directory's forward reading: a JSON line for each record, sorted; of one tenant or of all."""
    directory = await read_directory(settings, clock)
    for each in [tenant] if tenant else directory.tenants:
        records = directory.for_tenant(each)
        for ref in records.refs():
            addresses = sorted(records.addresses(ref))
            line = {"tenant": each, "type": ref.type, "id": ref.id, "addresses": addresses}
            yield json.dumps(line, ensure_ascii=False)


async def explain(
    settings: MatcherSettings, clock: Clock, tenant: str, address: str, ref: RecordRef | None
) -> tuple[bool, list[str]]:
    """Explains why an address relates to the records of a tenant, or to one record.

    With `ref` each rule of the record's type has a line, also those that do not relate.

    Returns:
        (True when the address relates to a record, the lines).
    """
    directory = await read_directory(settings, clock)
    if ref and ref not in directory.for_tenant(tenant):
        invalid = directory.is_invalid(RecordKey(tenant, ref.type, ref.id))
        reason = ": its last message was refused" if invalid else ""
        return False, [f"there is no {join_ref(ref)}{reason}"]
    explanations = list(explain_matches(directory, tenant, address, ref))
    lines = [_format_explanation(each, address) for each in explanations]
    relates = any(each.relates for each in explanations)
    return relates, lines or [f"{address} relates to no record of this tenant"]


def join_ref(ref: RecordRef) -> str:
    """A record as the commands print it: `type/id`."""
    return f"{ref.type}/{ref.id}"


def _format_explanation(explanation: Explanation, address: str) -> str:
    rule = explanation.rule
    path = "".join(f" {hop}" for hop in rule.path)
    if explanation.relates:
        outcome = f"{address} {rule.phrase}"
    else:
        outcome = f"no: {', '.join(explanation.addresses) or 'it gives no address'}"
    return f"{join_ref(explanation.ref)}{path} [{rule.ending.value}]  {rule.name}: {outcome}"


def check(file: Path) -> Iterator[tuple[bool, str]]:
    """Checks a file of records as JSON lines.

    Yields:
        (False when a record is refused, the line to print): a line for each record and for each warning.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = read_record(line)
            except InvalidMessageError as error:
                yield False, f"{file}:{number}: refused: {error}"
            else:
                yield True, f"{file}:{number}: {join_key(record.key)}: taken"
                for warning in find_warnings(line, record):
                    yield True, f"{file}:{number}: warning: {warning}"
