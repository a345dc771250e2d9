"""The record changes of the whole run: every kind is made, and the same ones by the same seed."""

from random import Random
from typing import Any

import orjson

from scenarios.chaos.changes import Changes
from scenarios.chaos.whole.records import PROBE_RECORD, RecordChanges, all_record_ids
from shared.records import read_record


def changes_of(seed: int) -> tuple[Changes, list[tuple[dict[str, Any], bool]]]:
    """A hundred changes, and all that is published of them."""
    records = RecordChanges("t", Random(seed), ["ann", "ben"])
    records.create()
    changes = Changes(Random(seed), records.table())
    for _ in range(100):
        changes.make()
    return changes, records.changed


def test_all_kinds_of_changes_are_made_to_records_that_are_valid() -> None:
    changes, published = changes_of(7)
    records = RecordChanges("t", Random(7), ["ann"])
    assert changes.made.keys() == records.table().keys()
    for record, _ in published:
        read_record(orjson.dumps(record))
    assert {(record["type"], record["id"]) for record, _ in published} == set(all_record_ids())
    assert sum((record["type"], record["id"]) == PROBE_RECORD for record, _ in published) == 1


def test_same_seed_makes_the_same_changes() -> None:
    def without_times(seed: int) -> list[Any]:
        return [(record | {"modified_on": None}, deleted) for record, deleted in changes_of(seed)[1]]

    assert without_times(7) == without_times(7)
    assert without_times(7) != without_times(8)
