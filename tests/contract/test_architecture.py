"""Rules about imports that the contracts in pyproject.toml cannot express, and proof that they fail."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOMAIN = sorted((ROOT / "services").glob("*/domain/*.py"))

CLOCKS = {
    "now",
    "utcnow",
    "today",
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "localtime",
    "gmtime",
}
"""The functions of datetime, date and time that read a clock."""


def foreign_imports(source: str) -> Iterator[str]:
    """Imports of a domain module from outside the standard library, `shared` and its own package."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                imported = [name.name for name in names]
            case ast.ImportFrom(module=module, level=0):
                imported = [module or ""]
            case ast.ImportFrom(level=level) if level > 1:
                imported = ["." * level]
            case _:
                continue
        yield from (
            name for name in imported if name.partition(".")[0] not in {"shared", *sys.stdlib_module_names}
        )


def clock_reads(source: str) -> Iterator[str]:
    """Places where a module reads a clock, or imports a function that does."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module="time", names=names):
                yield from (f"from time import {name.name}" for name in names if name.name in CLOCKS)
            case ast.Attribute(value=ast.Name(id="datetime" | "date" | "time" | "dt"), attr=attr) if (
                attr in CLOCKS
            ):
                yield ast.unparse(node)
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="datetime")), attr=attr) if (
                attr in CLOCKS
            ):
                yield ast.unparse(node)
            case _:
                pass


def test_every_service_has_a_domain() -> None:
    assert {path.relative_to(ROOT / "services").parts[0] for path in DOMAIN} == {
        "mail_ingest",
        "matcher",
        "tracking",
    }


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_domain_imports_only_the_standard_library_and_shared(path: Path) -> None:
    assert list(foreign_imports(path.read_text())) == []


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_domain_reads_no_clock(path: Path) -> None:
    assert list(clock_reads(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pydantic",
        "from motor.motor_asyncio import AsyncIOMotorClient",
        "from ..store import Store",
        "from services.matcher import app",
        "def f():\n    import httpx2",
    ],
)
def test_a_foreign_import_is_found(source: str) -> None:
    assert len(list(foreign_imports(source))) == 1


@pytest.mark.parametrize(
    "source", ["import datetime", "from shared.events import Activity", "from .rules import RULES"]
)
def test_an_allowed_import_is_not_reported(source: str) -> None:
    assert list(foreign_imports(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\nnow = datetime.now(UTC)",
        "import datetime\nnow = datetime.datetime.now()",
        "from datetime import date\ntoday = date.today()",
        "import time\nnow = time.time()",
        "from time import monotonic",
        "class A:\n    clock = time.monotonic",
    ],
)
def test_a_clock_read_is_found(source: str) -> None:
    assert list(clock_reads(source))


@pytest.mark.parametrize(
    "source", ["later = now + timedelta(1)", "sent = mail.time", "day = datetime.fromisoformat(text)"]
)
def test_arithmetic_with_a_given_time_is_not_reported(source: str) -> None:
    assert list(clock_reads(source)) == []
