"""The committed generated documents are those of today's code."""

import json
from pathlib import Path

import pytest

from docs.generate import documents

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", documents())
def test_a_generated_document_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == documents()[path], "run `make docs`"


def test_no_obsolete_generated_document_is_left() -> None:
    committed = {str(file.relative_to(ROOT)) for file in (ROOT / "docs/schemas").glob("*.json")}
    assert committed <= documents().keys()


def test_the_schemas_that_the_message_interface_references_exist() -> None:
    text = (ROOT / "docs/asyncapi.json").read_text()
    for channel in json.loads(text)["channels"].values():
        for message in channel["messages"].values():
            assert (ROOT / "docs" / message["payload"]["$ref"]).exists()
