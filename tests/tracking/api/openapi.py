"""docs/openapi.json, and what it describes."""

import json
import re
from pathlib import Path
from typing import Any

INTERFACE: dict[str, Any] = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())


def described_responses(method: str, path: str) -> dict[str, Any] | None:
    """The responses that the document describes for a request; None when it has no such route."""
    for known, operations in INTERFACE["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", known), path) and method.lower() in operations:
            return dict(operations[method.lower()]["responses"])
    return None


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """A part of the document, with its reference followed."""
    while "$ref" in part:
        found: Any = INTERFACE
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = found
    return part
