"""Which records upstream systems may publish, and the errors of invalid ones."""

import json
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidMessageError
from shared.records import (
    Account,
    Contact,
    CustomRecord,
    Lead,
    Opportunity,
    Record,
    modified_timestamp,
    parse_key,
    read_record,
)

OPPORTUNITY = {
    "tenant": "contoso",
    "type": "opportunity",
    "id": "o1",
    "name": "Fleet renewal",
    "version": 7,
    "modified_on": "2026-11-20T09:12:00Z",
    "readers": ["*", "user:mia", "group:sales"],
    "emails": ["fleet@fabrikam.com", None],
    "contact_id": "c1",
    "stakeholder_ids": ["c2", "c3"],
    "account_id": "a1",
    "lead_id": None,
}


def parse(record: dict[str, Any]) -> Any:
    parse_key("/".join(str(record[part]) for part in ("tenant", "type", "id")).encode())
    return read_record(json.dumps(record).encode())


def test_a_record_is_read_completely() -> None:
    record = parse(OPPORTUNITY)
    assert isinstance(record, Opportunity)
    assert record.model_dump(mode="json") == OPPORTUNITY


@pytest.mark.parametrize(
    "kind, model, more",
    [
        ("account", Account, {"primary_contact_id": "c1"}),
        ("contact", Contact, {"parent_account_id": "a1"}),
        ("lead", Lead, {"contact": {"name": "Ann", "email": "ann@fabrikam.com"}, "contact_id": "c1"}),
        (
            "cr_ticket",
            CustomRecord,
            {"lookups": {"customer": {"type": "account", "id": "a1"}, "caller": None}},
        ),
        ("Account", CustomRecord, {}),  # types are compared letter by letter
    ],
)
def test_each_type_has_its_fields_and_any_other_type_is_custom(
    kind: str, model: type[Record], more: dict[str, Any]
) -> None:
    record = parse({"tenant": "contoso", "type": kind, "id": "1", **more})
    assert type(record) is model
    assert record.model_dump(include=set(more)) == more


def test_tenant_type_and_id_are_the_required_fields() -> None:
    record = parse({"tenant": "contoso", "type": "account", "id": "a1"})
    assert (record.key, record.emails, record.readers, record.name) == (
        ("contoso", "account", "a1"),
        None,
        None,
        None,
    )


def test_unknown_fields_are_ignored_at_any_depth() -> None:
    more = {"colour": "red", "lookups": {"customer": {"type": "contact", "id": "c1", "colour": "red"}}}
    assert "red" not in parse({"tenant": "contoso", "type": "project", "id": "p1", **more}).model_dump_json()


def test_an_absent_modification_time_sorts_oldest() -> None:
    dated, undated = parse(OPPORTUNITY), parse({**OPPORTUNITY, "modified_on": None})
    assert modified_timestamp(undated) < modified_timestamp(dated)


@pytest.mark.parametrize(
    "written", ["2026-11-20T09:12:00", "2026-11-20 09:12:00", "2026-11-20T10:12:00+01:00"]
)
def test_a_modification_time_without_a_zone_is_utc(written: str) -> None:
    assert parse(OPPORTUNITY | {"modified_on": written}) == parse(OPPORTUNITY)


def test_an_empty_link_is_null() -> None:
    empty = {"contact_id": "", "account_id": "", "lead_id": "", "stakeholder_ids": ["", None, "c2"]}
    null = {"contact_id": None, "account_id": None, "lead_id": None, "stakeholder_ids": [None, None, "c2"]}
    assert parse(OPPORTUNITY | empty) == parse(OPPORTUNITY | null)
    for kind, link in (
        ("account", "primary_contact_id"),
        ("contact", "parent_account_id"),
        ("lead", "contact_id"),
    ):
        assert getattr(parse({"tenant": "t", "type": kind, "id": "1", link: ""}), link) is None
    lookups = {"customer": {"type": "account", "id": ""}}
    assert parse({"tenant": "t", "type": "project", "id": "p", "lookups": lookups}).lookups == {
        "customer": None
    }


@pytest.mark.parametrize(
    "change, field",
    [
        ({"tenant": ""}, "key"),
        ({"id": "o/1"}, "key"),
        ({"id": "o\n1"}, "key"),
        ({"id": "x" * 201}, "key"),
        ({"id": 1}, "id"),
        ({"name": ["Fleet"]}, "name"),
        ({"version": 2**63}, "version"),
        ({"version": "seven"}, "version"),
        ({"modified_on": "yesterday"}, "modified_on"),
        ({"modified_on": "9999-12-31T23:59:59-12:00"}, "modified_on"),
        ({"readers": "*"}, "readers"),
        ({"readers": ["*", "everybody"]}, "readers.1"),
        ({"readers": ["user:"]}, "readers.0"),
        ({"readers": ["user:" + "x" * 60]}, "readers.0"),
        ({"readers": ["*"] * 201}, "readers"),
        ({"emails": "fleet@fabrikam.com"}, "emails"),
        ({"emails": ["fleet@fabrikam.com", 5]}, "emails.1"),
        ({"emails": ["x" * 1001]}, "emails.0"),
        ({"emails": [None] * 1001}, "emails"),
        ({"stakeholder_ids": ["c1", "c/2"]}, "stakeholder_ids.1"),
        ({"account_id": " /"}, "account_id"),
        ({"type": "lead", "contact": "Ann"}, "contact"),
        ({"type": "lead", "contact": {"email": 5}}, "contact.email"),
        ({"type": "project", "lookups": {"customer": {"type": "lead", "id": "l1"}}}, "lookups.*.type"),
        ({"type": "project", "lookups": {"emails": {"type": "account"}}}, "lookups.*.id"),
        ({"type": "project", "lookups": {"customer": {"type": "account"}}}, "lookups.*.id"),
    ],
)
def test_an_invalid_field_is_named_by_its_path(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidMessageError) as error:
        parse(OPPORTUNITY | change)
    assert error.value.field == field


@pytest.mark.parametrize("missing", ["tenant", "type", "id"])
def test_the_body_must_repeat_each_part_of_the_key(missing: str) -> None:
    with pytest.raises(InvalidMessageError, match="required") as error:
        read_record(json.dumps({name: OPPORTUNITY[name] for name in OPPORTUNITY if name != missing}))
    assert error.value.field == missing


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"type":"\\ud800"}',
        b'{"version":' + b"9" * 5000 + b"}",
        b"{} {}",
    ],
)
def test_text_that_is_no_json_object_is_invalid(text: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        read_record(text)


@given(st.text(min_size=20))
def test_an_error_never_holds_the_value(secret: str) -> None:
    for field in OPPORTUNITY.keys() - {"name", "type"}:
        with pytest.raises(InvalidMessageError) as error:
            read_record(json.dumps(OPPORTUNITY | {field: {"is": f"{secret}\n"}}))
        assert secret not in str(error.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.datetimes().map(str)
    | st.just("2026-11-20T09:12:00+01:00"),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "id", "name", "email"]), inner)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(["account", "contact", "lead", "opportunity", "project"]),
    st.dictionaries(st.sampled_from([*OPPORTUNITY, "contact", "lookups"]), JSON),
)
def test_any_record_is_invalid_or_fits_into_the_store(kind: str, change: dict[str, Any]) -> None:
    record = {**OPPORTUNITY, "type": kind, **change}
    try:
        parsed = parse(record)
    except InvalidMessageError:
        return
    assert bson.decode(bson.encode(parsed.model_dump()))["id"] == record["id"]
