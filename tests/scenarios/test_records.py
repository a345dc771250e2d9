"""CRM records of an archive, as upstream systems publish them."""

import re
from pathlib import Path

import orjson
import pytest

from scenarios.records.csv_files import COLUMNS, LOOKUP_PREFIX, CellType, RecordFileError
from scenarios.records.files import load_changes, load_records, read_records
from shared.records import RECORD_MODELS, ContactSection, CustomRecord

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-archive.md"


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


def test_changes_are_in_order(tmp_path: Path) -> None:
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


def test_unknown_operation_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "changes.jsonl", {"seq": 1, "op": "rename"})
    with pytest.raises(ValueError, match="rename"):
        list(load_changes(tmp_path / "changes.jsonl", "t"))


# CSV


def csv(folder: Path, name: str, *lines: str) -> Path:
    file = folder / name
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_columns_become_fields(tmp_path: Path) -> None:
    csv(
        tmp_path,
        "accounts.csv",
        "id,name,emails,modified_on,primary_contact_id",
        "fab,Fabrikam,,2026-11-20,carla",
    )
    csv(
        tmp_path,
        "contacts.csv",
        "name, id ,emails,parent_account_id,version",
        '"Reyes, Carla",carla, a@x.example ; b@x.example ,fab,7',
        "",
        ",,,,",
        "Eve,eve,;e@x.example,,",
    )
    csv(tmp_path, "leads.csv", "id,contact_name,contact_email,contact_id", "l,Lea,lea@x.example,", "m,,,eve")
    csv(
        tmp_path,
        "deals.csv",
        "id,type,stakeholder_ids,account_id,readers",
        "o,opportunity,eve;;carla,fab,*; group:sales",
    )
    csv(tmp_path, "cr_ticket.csv", "id,lookups.customer,lookups.visitor", "t,account/fab,", "u,,contact/eve")
    assert {f"{record['type']}/{record['id']}": record for record in read_records(tmp_path, "t")} == {
        "account/fab": record(
            "account",
            "fab",
            name="Fabrikam",
            emails=None,
            modified_on="2026-11-20T00:00:00+00:00",
            primary_contact_id="carla",
        ),
        "contact/carla": record(
            "contact",
            "carla",
            name="Reyes, Carla",
            emails=["a@x.example", "b@x.example"],
            parent_account_id="fab",
        )
        | {"version": 7},
        "contact/eve": record(
            "contact", "eve", name="Eve", emails=[None, "e@x.example"], parent_account_id=None
        ),
        "lead/l": record("lead", "l", contact={"name": "Lea", "email": "lea@x.example"}, contact_id=None),
        "lead/m": record("lead", "m", contact_id="eve"),
        "opportunity/o": record(
            "opportunity",
            "o",
            stakeholder_ids=["eve", "carla"],
            account_id="fab",
            readers=["*", "group:sales"],
        ),
        "cr_ticket/t": record("cr_ticket", "t", lookups={"customer": {"type": "account", "id": "fab"}}),
        "cr_ticket/u": record("cr_ticket", "u", lookups={"visitor": {"type": "contact", "id": "eve"}}),
    }


def record(kind: str, id_: str, **fields: object) -> dict[str, object]:
    return {"tenant": "t", "type": kind, "id": id_, "version": 1, **fields}


def test_single_file_with_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "contact.csv"
    file.write_bytes("id,name\r\nzoë,Zoë\r\n".encode("utf-8-sig"))
    assert read_records(file, "t") == [record("contact", "zoë", name="Zoë")]
    write(tmp_path / "leads.jsonl", {"id": "l"})
    assert read_records(tmp_path / "leads.jsonl", "t") == [record("lead", "l")]


@pytest.mark.parametrize(
    "name,lines,message",
    [
        (
            "contacts.csv",
            ("id,email", "a,a@x.example"),
            "line 1, column email: records have no such column; is it emails?",
        ),
        (
            "contacts.csv",
            ("id,shoe size", "a,42"),
            "line 1, column shoe size: records have no such column; delete it",
        ),
        (
            "contacts.csv",
            ("id;emails", "a;a@x.example"),
            "line 1, column id;emails: columns are separated by commas",
        ),
        ("contacts.csv", ("id,name,name", "a,b,c"), "line 1, column name: this column is there twice"),
        ("contacts.csv", ("name", "a"), "line 1, column id: there is no such column"),
        ("contacts.csv", ("",), "line 1, column id: there is no such column"),
        (
            "contacts.csv",
            ("id,name", '"a","two', 'lines"', "b,c,d"),
            "line 4: there are 3 cells, and the header has 2",
        ),
        ("contacts.csv", ("id,name", "a,b", 'c,"d"e'), "line 3: this is not CSV"),
        ("contacts.csv", ("id,name", "a,b", 'c,"d'), "line 3: this is not CSV"),
        ("contacts.csv", ("id,name", ",Ann"), "line 2, column id: every record needs one"),
        ("contacts.csv", ("id,name", "a/b,Ann"), "line 2, column id: "),
        (
            "contacts.csv",
            ("id,modified_on", "a,2026-11-20", "b,yesterday"),
            "line 3, column modified_on: this is no time",
        ),
        ("contacts.csv", ("id,version", "a,1.5"), "line 2, column version: this is no whole number"),
        ("contacts.csv", ("id,readers", "a,*;everybody"), "line 2, column readers: "),
        ("contacts.csv", ("id,emails", f"a,{'x' * 1001}"), "line 2, column emails: "),
        (
            "contacts.csv",
            ("id,account_id", "a,", "b,fab"),
            (
                "line 3, column account_id: a record of the type contact has no such field; "
                "it has id, type, name"
            ),
        ),
        (
            "contacts.csv",
            ("id,lookups.customer", "a,account/fab"),
            "line 2, column lookups.customer: a record of the type contact has no such field",
        ),
        ("leads.csv", ("id,contact_email", f"a,{'x' * 1001}"), "line 2, column contact_email: "),
        (
            "cr_ticket.csv",
            ("id,lookups.customer", "a,fab"),
            "line 2, column lookups.customer: a lookup is written account/ID or contact/ID",
        ),
        ("cr_ticket.csv", ("id,lookups.customer", "a,account/f/g"), "line 2, column lookups.customer: "),
        ("contacts.jsonl", ('{"id": "a"}', '{"id": '), "line 2: this is no JSON"),
        ("contacts.jsonl", ('["a"]',), "line 1: this is no JSON object"),
        ("contacts.jsonl", ('{"id": "a"}', '{"id": "b", "emails": "b@x.example"}'), "line 2, field emails: "),
    ],
)
def test_error_has_file_line_and_column(
    tmp_path: Path, name: str, lines: tuple[str, ...], message: str
) -> None:
    file = csv(tmp_path, name, *lines)
    with pytest.raises(RecordFileError) as error:
        read_records(tmp_path, "t")
    assert str(error.value).startswith(f"{file}, {message}")
    assert "\n" not in str(error.value)


def test_invalid_utf_8_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "contacts.csv").write_bytes(b"id,name\na,Ann\nb,Zo\xeb\n")
    with pytest.raises(RecordFileError, match=r"contacts\.csv, line 3: this is not UTF-8"):
        read_records(tmp_path, "t")


def test_every_field_of_a_record_has_a_column() -> None:
    for kind, model in {**RECORD_MODELS, "project": CustomRecord}.items():
        columns = {column.path[0] for column in COLUMNS if column.belongs_to(kind)} | (
            {"lookups"} if model is CustomRecord else set()
        )
        assert columns == model.model_fields.keys() - {"tenant"}, kind
    assert {
        column.path[1] for column in COLUMNS if column.path[0] == "contact"
    } == ContactSection.model_fields.keys()


def test_document_explains_all_columns() -> None:
    rows = re.findall(
        r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \| `([\w.]+)`",
        DOCUMENT.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert rows == [
        *(
            (column.name, ", ".join(column.types) or "every type", column.cell, ".".join(column.path))
            for column in COLUMNS
        ),
        (f"{LOOKUP_PREFIX}FIELD", "custom types", CellType.LOOKUP, "lookups.FIELD"),
    ]


def test_example_of_the_document_is_valid(tmp_path: Path) -> None:
    [example] = re.findall(r"```csv\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "contacts.csv").write_text(example, encoding="utf-8")
    assert [(record["id"], record["emails"]) for record in read_records(tmp_path, "t")] == [
        ("carla", ["carla.reyes@fabrikam.example", "carla@home.example"]),
        ("deepak", None),
    ]
