"""The drills of docs/operations.md and the tests that run them agree."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()
DRILLS = {(module, name) for module, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)}


def names_of_tests(module: str) -> set[str]:
    """The names of the tests in a module."""
    tree = ast.parse((ROOT / module).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef))
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_test_that_the_page_names_exists() -> None:
    assert [(module, name) for module, name in DRILLS if name not in names_of_tests(module)] == []


def test_every_test_of_a_named_module_is_a_drill_of_the_page() -> None:
    modules = {module for module, _ in DRILLS}
    assert {(module, name) for module in modules for name in names_of_tests(module)} - DRILLS == set()
