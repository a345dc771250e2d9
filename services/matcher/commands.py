"""What the commands answer, line by line."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from shared.broker import Kafka
from shared.clock import Clock
from shared.errors import Rejected
from shared.records import read_record
from shared.topics import MATCHER, RECORDS

from .domain.directory import Directory, Ref
from .domain.matching import explain
from .replay import take_in
from .settings import MatcherSettings, load_rules


async def read_directory(settings: MatcherSettings, clock: Clock) -> Directory:
    """All records that are on Kafka now; raises Transient where it does not answer."""
    kafka = Kafka(settings, MATCHER, clock)
    directory = Directory(load_rules(settings.rules_file))
    await kafka.start()
    try:
        async for chunk in kafka.read_table(RECORDS):
            for message in chunk.messages:
                take_in(directory, message)
    finally:
        await kafka.stop()
    return directory


async def addresses(settings: MatcherSettings, clock: Clock, tenant: str | None) -> AsyncIterator[str]:
    """The directory's forward reading, a JSON line for each record, sorted."""
    directory = await read_directory(settings, clock)
    for each in [tenant] if tenant else directory.tenants:
        crm = directory.of(each)
        for ref in crm.refs():
            yield json.dumps(
                {"tenant": each, "type": ref[0], "id": ref[1], "addresses": sorted(crm.addresses(ref))},
                ensure_ascii=False,
            )


async def explanation(
    settings: MatcherSettings, clock: Clock, tenant: str, address: str, ref: Ref | None
) -> tuple[bool, list[str]]:
    """(does it relate, why or why not) of an address, to any record or to one."""
    directory = await read_directory(settings, clock)
    if ref and ref not in directory.of(tenant):
        refused = directory.is_refused((tenant, *ref))
        return False, [
            f"there is no {ref[0]}/{ref[1]}" + (": its last message was refused" if refused else "")
        ]
    lines, related = [], False
    for each in explain(directory, tenant, address, ref):
        related |= each.relates
        way = "".join(f" {hop}" for hop in each.rule.path)
        outcome = (
            f"{address} {each.rule.phrase}"
            if each.relates
            else f"no: {', '.join(each.addresses) or 'it gives no address'}"
        )
        lines.append(
            f"{each.ref[0]}/{each.ref[1]}{way} [{each.rule.ending.value}]  {each.rule.name}: {outcome}"
        )
    return related, lines or [f"{address} relates to no record of this tenant"]


def check(file: Path) -> Iterator[tuple[bool, str]]:
    """(would it be taken, a line that says so) of each record in a file of JSON lines; raises OSError."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = read_record(line)
            except Rejected as refused:
                yield False, f"{file}:{number}: refused: {refused}"
            else:
                yield True, f"{file}:{number}: {'/'.join(record.key)}: taken"
