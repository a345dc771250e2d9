"""Checks recorded answers against Graph's schema.

`python -m simulator.csdl --check CHECKER --recorded FOLDER` loads a checker by its path, a Python
file with `faults(answer, type) -> list of strings`, and prints the faults of everything that a
simulator recorded in the folder (`SIMULATOR_RECORD`). Exit 1 if there are any, or nothing to check.

Errors and batches have no type in the schema; what they have to look like stands here.
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

WHOLE = frozenset(("changeNotificationCollection",))
"""Types whose `value` is a property of their own, not a list of answers."""

ENVELOPE = frozenset(("@odata.context", "@odata.nextLink", "@odata.count", "value"))


def load_checker(path: Path) -> Checker:
    """The function `faults` of a Python file."""
    spec = importlib.util.spec_from_file_location("csdl_checker", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    checker: Checker = module.faults
    return checker


def faults(answer: dict[str, Any], kind: str, checker: Checker) -> Iterator[str]:
    """What is wrong with one recorded answer of a type."""
    if kind == ERROR:
        yield from error_faults(answer)
    elif kind == BATCH:
        yield from batch_faults(answer)
    elif kind not in WHOLE and isinstance(answer.get("value"), list):
        for name in answer.keys() - ENVELOPE:
            yield f"{name}: not part of a collection"
        for number, item in enumerate(answer["value"]):
            yield from (f"[{number}] {fault}" for fault in checker(item, kind))
    else:
        yield from checker(answer, kind)


def error_faults(answer: dict[str, Any]) -> Iterator[str]:
    """What is wrong with an error: it has code, message and the ids of the request."""
    if set(answer) != {"error"} or not isinstance(answer["error"], dict):
        yield "an error has the property error, and nothing else"
        return
    error = answer["error"]
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


def batch_faults(answer: dict[str, Any]) -> Iterator[str]:
    """What is wrong with a batch's envelope; its parts are recorded on their own."""
    responses = answer.get("responses")
    if set(answer) != {"responses"} or not isinstance(responses, list):
        yield "a batch has the property responses, and nothing else"
        return
    for number, part in enumerate(responses):
        if not {"id", "status", "headers"} <= part.keys() <= {"id", "status", "headers", "body"}:
            yield f"[{number}] a part has id, status, headers and perhaps a body"
        elif not isinstance(part["status"], int) or not isinstance(part["id"], str):
            yield f"[{number}] the id is a text, the status a number"


def recorded(folder: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Type, line and answer of everything recorded in a folder."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield path.stem, number, orjson.loads(line)


def main() -> int:
    """Print the faults and how much was checked."""
    parser = argparse.ArgumentParser(prog="python -m simulator.csdl", description=__doc__)
    parser.add_argument("--check", type=Path, required=True, help="the checker's Python file")
    parser.add_argument("--recorded", type=Path, required=True, help="the folder of answers")
    asked = parser.parse_args()
    checker = load_checker(asked.check)
    checked: Counter[str] = Counter()
    bad = 0
    for kind, line, answer in recorded(asked.recorded):
        checked[kind] += 1
        for fault in faults(answer, kind, checker):
            bad += 1
            print(f"{kind}.jsonl:{line} {fault}")
    counts = ", ".join(f"{count} {kind}" for kind, count in checked.items())
    print(f"{bad} faults in {counts or 'no answers'}")
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main())
