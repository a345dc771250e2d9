"""What `check` warns of: records that are taken, and hardly meant."""

import json
from typing import Any

import pytest

from services.matcher.records.warnings import find_warnings
from shared.records import read_record


def warned_fields(**fields: Any) -> list[str]:
    line = json.dumps({"tenant": "t", "type": "contact", "id": "1"} | fields).encode()
    return [warning.partition(":")[0] for warning in find_warnings(line, read_record(line))]


@pytest.mark.parametrize(
    "address",
    [
        "<a@b.example>",
        "mailto:a@b.example",
        "SMTP:a@b.example",
        "Ann <a@b.example>",
        '"Ann" a@b.example',
        "a@b.example; c@d.example",
        "a@b.example,c@d.example",
        "a@b.example.",
        "a b@c.example",
        "ann",
        "@b.example",
        "a@",
        "/O=EXCHANGELABS/CN=ANN",
    ],
)
def test_address_that_is_not_plain_is_warned_of(address: str) -> None:
    assert warned_fields(emails=["plain@b.example", address]) == ["emails.1"]
    assert warned_fields(type="lead", contact={"email": address}) == ["contact.email"]


@pytest.mark.parametrize(
    "address", ["a@b.example", " A.b+c@D.example\u200b", "jörg@bücher.example", "o'x@b.example", None, ""]
)
def test_plain_or_absent_address_is_not_warned_of(address: str | None) -> None:
    assert warned_fields(emails=[address]) == []


@pytest.mark.parametrize("kind", ["Contact", "contacts", "ACCOUNT", "Leads", "opportunities", "Opportunitys"])
def test_type_that_differs_from_a_known_one_by_case_or_plural_is_warned_of(kind: str) -> None:
    assert warned_fields(type=kind) == ["type"]


@pytest.mark.parametrize("kind", ["project", "cr_account", "lead"])
def test_other_type_is_not_warned_of(kind: str) -> None:
    assert warned_fields(type=kind) == []


@pytest.mark.parametrize(
    "time, warned",
    [("2026-11-20T09:12:00", True), ("2026-11-20", True), ("2026-11-20T09:12:00Z", False), (None, False)],
)
def test_time_without_a_zone_is_warned_of(time: str | None, warned: bool) -> None:
    assert warned_fields(modified_on=time) == ["modified_on"] * warned
