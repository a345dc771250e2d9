"""What other systems are told of our messages is true of them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from docs.generate import HEADERS, PUBLIC
from shared.bus import ENVELOPE
from shared.records import MODELS, Custom

DOCS = Path(__file__).parents[2] / "docs"
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (DOCS / "schemas").glob("*.json")}


def test_each_public_message_has_a_schema() -> None:
    assert SCHEMAS.keys() == {"records"} | {message.ce_type for topic in PUBLIC for message in topic.messages}


def test_each_record_has_exactly_one_model_by_its_type() -> None:
    types = {
        name: schema["properties"]["type"]
        for name, schema in SCHEMAS["records"]["$defs"].items()
        if "type" in schema["properties"]
    }
    assert [option["$ref"] for option in SCHEMAS["records"]["oneOf"]] == [
        f"#/$defs/{model.__name__}" for model in (*MODELS.values(), Custom)
    ]
    assert {types[model.__name__]["const"] for model in MODELS.values()} == set(MODELS)
    assert set(types["Custom"]["not"]["enum"]) == set(MODELS)


def objects(schema: Any) -> list[dict[str, Any]]:
    """Every object that a schema describes."""
    if isinstance(schema, list):
        return [found for part in schema for found in objects(part)]
    if not isinstance(schema, dict):
        return []
    here = [schema] if schema.get("type") == "object" else []
    return here + [found for part in schema.values() for found in objects(part)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_fields_may_be_added_to_any_object(name: str) -> None:
    """Readers ignore what they do not know."""
    assert all(found.get("additionalProperties", True) is not False for found in objects(SCHEMAS[name]))


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "records"])
def test_nothing_of_a_body_and_no_address_is_public(name: str) -> None:
    fields = {field for found in objects(SCHEMAS[name]) for field in found.get("properties", {})}
    assert not fields & {"text", "html", "body", "participants", "address", "addresses", "emails"}


def test_the_interface_document_is_asyncapi_3() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    assert document["asyncapi"] == "3.0.0"
    ApplicationSchema.model_validate(document)
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]


INTERFACE = json.loads((DOCS / "openapi.json").read_text())


def references(part: Any) -> list[str]:
    """All that a document refers to."""
    if isinstance(part, list):
        return [found for each in part for found in references(each)]
    if not isinstance(part, dict):
        return []
    return [
        value
        for name, each in part.items()
        for value in ([each] if name == "$ref" and isinstance(each, str) else references(each))
    ]


def test_the_timeline_s_interface_document_is_openapi_3_1() -> None:
    assert INTERFACE["openapi"] == "3.1.0"
    OpenAPI.model_validate(INTERFACE)


def test_what_the_timeline_s_interface_document_refers_to_is_there_and_all_that_is_there_is_referred_to() -> (
    None
):
    parts = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in INTERFACE["components"][kind]
    }
    assert set(references(INTERFACE)) == parts


@pytest.mark.parametrize("path", INTERFACE["paths"])
def test_each_operation_has_a_name_of_its_own_a_sentence_and_its_errors(path: str) -> None:
    names = [
        operation["operationId"]
        for operations in INTERFACE["paths"].values()
        for operation in operations.values()
    ]
    assert len(names) == len(set(names))
    for operation in INTERFACE["paths"][path].values():
        assert operation["description"].endswith(".")
        assert {"401", "413", "503"} <= operation["responses"].keys()
        for status, answer in operation["responses"].items():
            assert ("$ref" in answer) is (int(status) >= 400), "an error is described once"
        parameters = {
            parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"
        }
        assert parameters == set(re.findall(r"{(\w+)}", path))
    assert ("404" in str(INTERFACE["paths"][path])) is ("{id}" in path)


def test_every_header_of_the_envelope_is_explained() -> None:
    assert list(HEADERS) == list(ENVELOPE)
