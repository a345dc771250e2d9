import json
from pathlib import Path
from typing import Any

import pytest

from scenarios.compare import verdicts

MATCHES: dict[str, list[dict[str, Any]]] = {
    "message-matches.jsonl": [{"message_id": "<1@x>", "matches": [["contact", "ann"], ["account", "x"]]}],
    "record-addresses.jsonl": [
        {"type": "contact", "id": "ann", "addresses": ["ann@x.example"]},
        {"type": "contact", "id": "bob", "addresses": []},
    ],
}
DELIVERIES: list[dict[str, Any]] = [
    {"mailbox": "carla", "message_id": "<1@x>", "matches": [["contact", "ann"], ["account", "x"]]},
    {"mailbox": "carla", "message_id": "<2@x>", "matches": []},
]
MBOX = (
    b"From a\nMessage-ID: <1@x>\nFrom: ann@x.example\n\nhello\n\n"
    b"From b\nMessage-ID: <2@x>\nFrom: bob@x.example\n\nhello\n"
)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    out, expected, mail = (tmp_path / name for name in ("out", "expected", "mail"))
    for folder in (out, expected, mail):
        folder.mkdir()
    for file, rows in MATCHES.items():
        write(out / file, rows)
        write(expected / file, rows)
    write(out / "deliveries.jsonl", DELIVERIES)
    (mail / "carla.mbox").write_bytes(MBOX)
    return out, expected, mail


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def faults(folders: tuple[Path, Path, Path]) -> dict[str, tuple[int, int]]:
    out, expected, mail = folders
    return {
        v.subject: (v.missing.total(), v.extra.total())
        for v in verdicts(out, expected, mail, None)
        if not v.identical
    }


def test_equal_folders_are_identical(folders: tuple[Path, Path, Path]) -> None:
    assert faults(folders) == {}


def test_missing_and_extra_matches_are_counted(folders: tuple[Path, Path, Path]) -> None:
    write(
        folders[0] / "message-matches.jsonl",
        [{"message_id": "<1@x>", "matches": [["contact", "ann"], ["contact", "bob"]]}],
    )
    assert faults(folders) == {"message matches": (1, 1)}


def test_record_without_addresses_must_exist(folders: tuple[Path, Path, Path]) -> None:
    write(folders[0] / "record-addresses.jsonl", MATCHES["record-addresses.jsonl"][:1])
    assert faults(folders) == {"record addresses": (1, 0)}


def test_delivery_that_did_not_arrive_is_missing(folders: tuple[Path, Path, Path]) -> None:
    write(folders[0] / "deliveries.jsonl", DELIVERIES[:1])
    assert faults(folders) == {"message deliveries": (1, 0)}


def test_copy_with_fewer_matches_is_found_although_the_union_is_equal(
    folders: tuple[Path, Path, Path],
) -> None:
    write(folders[0] / "deliveries.jsonl", [DELIVERIES[0] | {"matches": [["contact", "ann"]]}, DELIVERIES[1]])
    assert faults(folders) == {"message copies": (1, 0)}


def test_message_delivered_twice_is_extra(folders: tuple[Path, Path, Path]) -> None:
    write(folders[0] / "deliveries.jsonl", [*DELIVERIES, DELIVERIES[1]])
    assert faults(folders) == {"message deliveries": (0, 1)}
