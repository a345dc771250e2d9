"""CRM records of an archive, as upstream systems publish them."""

from pathlib import Path

import orjson
import pytest

from simulator.records import load_changes, load_records


def write(path: Path, *rows: object) -> None:
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)) + b"\n\n")


def test_records_get_tenant_and_version(tmp_path: Path) -> None:
    write(tmp_path / "accounts.jsonl", {"type": "account", "id": "a", "emails": [None]})
    write(tmp_path / "custom.jsonl", {"type": "custom", "entity": "cr_ticket", "id": "c", "lookups": {}})
    write(tmp_path / "changes.jsonl", {"seq": 1, "op": "delete", "type": "account", "id": "a"})
    (tmp_path / "coverage.json").write_text("{}")
    assert list(load_records(tmp_path, "t")) == [
        {"tenant": "t", "type": "account", "id": "a", "emails": [None], "version": 1},
        {"tenant": "t", "type": "cr_ticket", "id": "c", "lookups": {}, "version": 1},
    ]


def test_changes_come_in_order(tmp_path: Path) -> None:
    write(tmp_path / "custom.jsonl", {"type": "custom", "entity": "cr_ticket", "id": "c"})
    write(
        tmp_path / "changes.jsonl",
        {"seq": 3, "op": "delete", "type": "custom", "id": "c"},
        {"seq": 1, "op": "upsert", "record": {"type": "lead", "id": "l"}, "why": "new"},
        {"seq": 2, "op": "delete", "type": "account", "id": "a"},
    )
    assert list(load_changes(tmp_path / "changes.jsonl", "t")) == [
        ("upsert", {"tenant": "t", "type": "lead", "id": "l", "version": 2}),
        ("delete", {"tenant": "t", "type": "account", "id": "a"}),
        ("delete", {"tenant": "t", "type": "cr_ticket", "id": "c"}),
    ]


def test_an_unknown_change_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "changes.jsonl", {"seq": 1, "op": "rename"})
    with pytest.raises(ValueError, match="rename"):
        list(load_changes(tmp_path / "changes.jsonl", "t"))
