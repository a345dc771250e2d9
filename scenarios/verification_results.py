"""The results of a verification as files of JSON lines, in the format that `compare` reads."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.local.processes import LocalError
from deploy.local.system import System

BUILT_IN_TYPES = {"account", "contact", "lead", "opportunity"}
ITEM_ID_NAMES = {"email": "message_id", "meeting": "uid"}
"""Kind of activity -> name of the item's id in the files."""
ACTIVITY_ID_FIELDS = {"email": "internet_message_id", "meeting": "ical_uid"}
"""Kind of activity -> field of the item's id in activities and suggestions."""
MATCH_FILES = {"email": "message-matches.jsonl", "meeting": "meeting-matches.jsonl"}

StoredMatches = dict[tuple[str, str], list[list[str]]]
"""(mailbox, item) -> (type, id) pairs."""


def write_results(
    out: Path,
    system: System,
    tenant: str,
    names: Mapping[str, str],
    activities: Mapping[bytes, dict[str, Any]],
) -> None:
    """Write the content of MongoDB, the live activities, and the matcher's addresses of records.

    Args:
        out: the folder of the files.
        system: the running system.
        tenant: the only tenant of the export.
        names: object id of a mailbox -> its name in the archive.
        activities: key -> activity, from the topic.

    Raises:
        LocalError: the export has suggestions of another tenant or without a live activity.
    """
    out.mkdir(parents=True, exist_ok=True)
    stored: StoredMatches = {}
    union: dict[str, defaultdict[str, set[tuple[str, str]]]] = {
        kind: defaultdict(set) for kind in MATCH_FILES
    }
    for line in system.run_command("services.tracking", "export").splitlines():
        row = json.loads(line)
        if row["tenant"] != tenant:
            raise LocalError("the export holds another tenant's suggestions")
        pairs = [[expected_type(kind), id_] for kind, id_ in row["matches"]]
        stored[row["mailbox"], row["item"]] = pairs
        item_id = row[ACTIVITY_ID_FIELDS[row["kind"]]]
        union[row["kind"]][item_id].update((kind, id_) for kind, id_ in pairs)
    for kind, file in MATCH_FILES.items():
        rows = [
            {ITEM_ID_NAMES[kind]: item_id, "matches": sorted(map(list, pairs))}
            for item_id, pairs in sorted(union[kind].items())
        ]
        write_lines(out / file, rows)
    write_lines(out / "deliveries.jsonl", _deliveries(activities, names, stored))
    if stored:
        raise LocalError(f"{len(stored)} stored suggestions have no live activity")
    addresses = map(json.loads, system.run_command("services.matcher", "addresses").splitlines())
    write_lines(
        out / "record-addresses.jsonl",
        (
            {"type": expected_type(row["type"]), "id": row["id"], "addresses": row["addresses"]}
            for row in addresses
        ),
    )


def _deliveries(
    activities: Mapping[bytes, dict[str, Any]], names: Mapping[str, str], stored: StoredMatches
) -> Iterator[dict[str, Any]]:
    """One row for each live activity; removes its matches from `stored`."""
    for key, activity in sorted(activities.items()):
        _, mailbox, item = key.decode().split("/", 2)
        kind = activity["kind"]
        yield {
            "mailbox": names[mailbox],
            ITEM_ID_NAMES[kind]: activity[ACTIVITY_ID_FIELDS[kind]],
            "matches": stored.pop((mailbox, item), []),
        }


def expected_type(kind: str) -> str:
    """The record type in the expectations: `custom` for every custom type."""
    return kind if kind in BUILT_IN_TYPES else "custom"


def write_lines(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of JSON lines."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
