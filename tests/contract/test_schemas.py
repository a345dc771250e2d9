"""The published schemas and interface documents describe the messages and routes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema

from docs.generate import HEADERS, PUBLIC
from shared.messages import ENVELOPE_HEADERS
from shared.records import RECORD_MODELS, CustomRecord

DOCS = Path(__file__).parents[2] / "docs"
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (DOCS / "schemas").glob("*.json")}


def test_each_public_message_has_a_schema() -> None:
    assert SCHEMAS.keys() == {"records"} | {event.ce_type for topic in PUBLIC for event in topic.value_types}


def test_each_record_type_has_exactly_one_model() -> None:
    types = {
        name: schema["properties"]["type"]
        for name, schema in SCHEMAS["records"]["$defs"].items()
        if "type" in schema["properties"]
    }
    assert [option["$ref"] for option in SCHEMAS["records"]["oneOf"]] == [
        f"#/$defs/{model.__name__}" for model in (*RECORD_MODELS.values(), CustomRecord)
    ]
    assert {types[model.__name__]["const"] for model in RECORD_MODELS.values()} == set(RECORD_MODELS)
    assert set(types[CustomRecord.__name__]["not"]["enum"]) == set(RECORD_MODELS)


def objects(schema: Any) -> list[dict[str, Any]]:
    """All objects in a schema."""
    if isinstance(schema, list):
        return [found for part in schema for found in objects(part)]
    if not isinstance(schema, dict):
        return []
    here = [schema] if schema.get("type") == "object" else []
    return here + [found for part in schema.values() for found in objects(part)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_fields_may_be_added_to_any_object(name: str) -> None:
    """Readers ignore unknown fields."""
    assert all(found.get("additionalProperties", True) is not False for found in objects(SCHEMAS[name]))


@pytest.mark.parametrize("name", [name for name in SCHEMAS if name != "records"])
def test_no_body_and_no_address_is_public(name: str) -> None:
    fields = {field for found in objects(SCHEMAS[name]) for field in found.get("properties", {})}
    assert not fields & {"text", "html", "body", "participants", "address", "addresses", "emails"}


def test_the_message_interface_is_asyncapi_3() -> None:
    document = json.loads((DOCS / "asyncapi.json").read_text())
    assert document["asyncapi"] == "3.0.0"
    ApplicationSchema.model_validate(document)
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]


INTERFACE = json.loads((DOCS / "openapi.json").read_text())


def references(part: Any) -> list[str]:
    """All references in a document."""
    if isinstance(part, list):
        return [found for each in part for found in references(each)]
    if not isinstance(part, dict):
        return []
    return [
        value
        for name, each in part.items()
        for value in ([each] if name == "$ref" and isinstance(each, str) else references(each))
    ]


def test_the_timeline_interface_is_openapi_3_1() -> None:
    assert INTERFACE["openapi"] == "3.1.0"
    OpenAPI.model_validate(INTERFACE)


def test_the_timeline_interface_defines_exactly_what_it_references() -> None:
    parts = {
        f"#/components/{kind}/{name}"
        for kind in ("schemas", "responses")
        for name in INTERFACE["components"][kind]
    }
    assert set(references(INTERFACE)) == parts


@pytest.mark.parametrize("path", INTERFACE["paths"])
def test_each_operation_has_a_unique_name_a_sentence_and_its_errors(path: str) -> None:
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
            assert ("$ref" in answer) is (int(status) >= 400), "errors are shared components"
        parameters = {
            parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"
        }
        assert parameters == set(re.findall(r"{(\w+)}", path))
    assert ("404" in str(INTERFACE["paths"][path])) is ("{id}" in path)


def test_every_envelope_header_is_described() -> None:
    assert list(HEADERS) == list(ENVELOPE_HEADERS)
