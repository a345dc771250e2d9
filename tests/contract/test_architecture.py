"""What the contracts in pyproject.toml cannot express about imports, and that the guards bite."""

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
"""Names of the functions by which Python tells the time: datetime's, date's and time's."""


def foreign_imports(source: str) -> Iterator[str]:
    """What a module of a domain imports although it is neither the standard library, nor shared, nor its neighbour."""
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


def askings_for_the_time(source: str) -> Iterator[str]:
    """Where a module asks what time it is, or takes hold of a function by which it could."""
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
def test_a_domain_imports_the_standard_library_and_shared_alone(path: Path) -> None:
    assert list(foreign_imports(path.read_text())) == []


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_domain_is_told_the_time_and_never_asks(path: Path) -> None:
    assert list(askings_for_the_time(path.read_text())) == []


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
def test_a_foreign_import_would_be_seen(source: str) -> None:
    assert len(list(foreign_imports(source))) == 1


@pytest.mark.parametrize(
    "source", ["import datetime", "from shared.events import Activity", "from .rules import RULES"]
)
def test_an_import_that_is_allowed_is_not_complained_of(source: str) -> None:
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
def test_asking_for_the_time_would_be_seen(source: str) -> None:
    assert list(askings_for_the_time(source))


@pytest.mark.parametrize(
    "source", ["later = now + timedelta(1)", "sent = mail.time", "day = datetime.fromisoformat(text)"]
)
def test_reckoning_with_a_given_time_is_not_complained_of(source: str) -> None:
    assert list(askings_for_the_time(source)) == []
