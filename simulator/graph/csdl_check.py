"""Checks recorded responses against Graph's schema (CSDL).

`python -m simulator.graph.csdl_check --check CHECKER --recorded FOLDER` loads a checker from a Python
file with `faults(response, type) -> list of strings`, and prints the faults of all responses that a
simulator recorded in the folder (`SIMULATOR_RECORD`). It exits with 1 if there are faults or no
responses.

Errors and batches have no type in the schema; this module checks their form.
"""

import argparse
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from .recorder import BATCH, ERROR

Checker = Callable[[dict[str, Any], str], list[str]]

TYPES_WITH_VALUE = frozenset(("changeNotificationCollection",))
"""Types with a property `value`, which is no list of entities."""

ENVELOPE = frozenset(("@odata.context", "@odata.nextLink", "@odata.count", "value"))


def load_checker(path: Path) -> Checker:
    """Load the function `faults` of a Python file.

    Raises:
        FileNotFoundError: Python cannot import the file.
    """
    spec = importlib.util.spec_from_file_location("csdl_checker", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checker: Checker = module.faults
    return checker


def faults(response: dict[str, Any], kind: str, checker: Checker) -> Iterator[str]:
    """The faults of one recorded response of a type."""
    if kind == ERROR:
        yield from error_faults(response)
    elif kind == BATCH:
        yield from batch_faults(response)
    elif kind not in TYPES_WITH_VALUE and isinstance(response.get("value"), list):
        for name in response.keys() - ENVELOPE:
            yield f"{name}: not part of a collection"
        for number, item in enumerate(response["value"]):
            yield from (f"[{number}] {fault}" for fault in checker(item, kind))
    else:
        yield from checker(response, kind)


def error_faults(response: dict[str, Any]) -> Iterator[str]:
    """The faults of an error: it has code, message and the ids of the request."""
    if set(response) != {"error"} or not isinstance(response["error"], dict):
        yield "an error has the property error, and nothing else"
        return
    error = response["error"]
    for name in ("code", "message"):
        if not isinstance(error.get(name), str) or not error[name]:
            yield f"error.{name}: should be a text"
    inner = error.get("innerError")
    if not isinstance(inner, dict):
        yield "error.innerError: is missing"
        return
    for name in ("date", "request-id", "client-request-id"):
        if not isinstance(inner.get(name), str) or not inner[name]:
            yield f"error.innerError.{name}: should be a text"
    try:
        UUID(str(inner.get("request-id")))
    except ValueError:
        yield "error.innerError.request-id: should be a GUID"


def batch_faults(response: dict[str, Any]) -> Iterator[str]:
    """The faults of a batch's envelope; its parts are recorded separately."""
    responses = response.get("responses")
    if set(response) != {"responses"} or not isinstance(responses, list):
        yield "a batch has the property responses, and nothing else"
        return
    for number, part in enumerate(responses):
        if not {"id", "status", "headers"} <= part.keys() <= {"id", "status", "headers", "body"}:
            yield f"[{number}] a part has id, status, headers and perhaps a body"
        elif not isinstance(part["status"], int) or not isinstance(part["id"], str):
            yield f"[{number}] the id is a text, the status a number"


def read_recordings(folder: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Type, line number and response of every recording in a folder."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield path.stem, number, orjson.loads(line)


def main() -> int:
    """Print the faults and the number of checked responses of each type."""
    parser = argparse.ArgumentParser(prog="python -m simulator.graph.csdl_check", description=__doc__)
    parser.add_argument("--check", type=Path, required=True, help="the checker's Python file")
    parser.add_argument("--recorded", type=Path, required=True, help="the folder of recordings")
    args = parser.parse_args()
    checker = load_checker(args.check)
    checked: Counter[str] = Counter()
    bad = 0
    for kind, line, response in read_recordings(args.recorded):
        checked[kind] += 1
        for fault in faults(response, kind, checker):
            bad += 1
            print(f"{kind}.jsonl:{line} {fault}")
    counts = ", ".join(f"{count} {kind}" for kind, count in checked.items())
    print(f"{bad} faults in {counts or 'no responses'}")
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
