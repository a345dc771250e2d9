"""What is generated from the code is committed as the code has it now."""

import json
from pathlib import Path

import pytest

from docs.generate import documents

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", documents())
def test_a_generated_document_is_up_to_date(path: str) -> None:
    assert (ROOT / path).read_text() == documents()[path], "run `make docs`"


def test_no_document_is_left_of_what_is_generated_no_longer() -> None:
    there = {str(file.relative_to(ROOT)) for file in (ROOT / "docs/schemas").glob("*.json")}
    assert there <= documents().keys()


def test_what_the_interface_document_refers_to_is_there() -> None:
    text = (ROOT / "docs/asyncapi.json").read_text()
    for channel in json.loads(text)["channels"].values():
        for message in channel["messages"].values():
            assert (ROOT / "docs" / message["payload"]["$ref"]).exists()
