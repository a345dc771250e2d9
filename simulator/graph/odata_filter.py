"""The `$filter` option: comparisons, `and`, `or`, `not`, parentheses."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import errors
from .errors import GraphError
from .odata import parse_instant

_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<text>'(?:[^']|'')*')"
    r"|(?P<word>[^\s()']+))"
)
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
    "gt": lambda a, b: a is not None and bool(a > b),
    "ge": lambda a, b: a is not None and bool(a >= b),
    "lt": lambda a, b: a is not None and bool(a < b),
    "le": lambda a, b: a is not None and bool(a <= b),
}

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: its test of an item, and the properties that it names, in their order."""

    test: Test
    names: tuple[str, ...]


def parse_filter(text: str, properties: Mapping[str, Callable[[Any], Any]], kind: str) -> Filter:
    """Parse a filter over items of the schema type `kind`, with their comparable properties.

    Raises:
        GraphError: the filter is malformed or names an unknown property.
    """
    parser = _Parser(text, properties, kind)
    return Filter(parser.parse(), tuple(parser.names))


def check_order(condition: Filter | None, orderby: Sequence[tuple[str, bool]]) -> None:
    """Apply Outlook's rule: the properties of `$orderby` are the first ones of `$filter`, in this order.

    Raises:
        GraphError: the filter violates the rule.
    """
    if condition is None or not orderby:
        return
    ordered = [name.lower() for name, _ in orderby]
    filtered = list(dict.fromkeys(name.lower() for name in condition.names))
    if filtered[: len(ordered)] != ordered:
        raise GraphError(errors.INEFFICIENT)


class _Parser:
    """A recursive-descent parser; each method consumes tokens and returns the test of its expression."""

    def __init__(self, text: str, properties: Mapping[str, Callable[[Any], Any]], kind: str):
        self._tokens: list[tuple[str, str]] = []
        self._properties = {name.lower(): read for name, read in properties.items()}
        self._kind = kind
        self.names: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None or match.end() == position:
                raise GraphError(errors.FILTER, text)
            self._tokens.append((str(match.lastgroup), str(match.group(str(match.lastgroup)))))
            position = match.end()
        self._tokens.append(("end", ""))

    def parse(self) -> Test:
        test = self._or_expression()
        if self._tokens[0][0] != "end":
            raise GraphError(errors.FILTER, self._tokens[0][1])
        return test

    def _next_token(self) -> tuple[str, str]:
        return self._tokens.pop(0)

    def _at_keyword(self, keyword: str) -> bool:
        kind, text = self._tokens[0]
        return kind == "word" and text.lower() == keyword

    def _or_expression(self) -> Test:
        tests = [self._and_expression()]
        while self._at_keyword("or"):
            self._next_token()
            tests.append(self._and_expression())
        return tests[0] if len(tests) == 1 else lambda item: any(t(item) for t in tests)

    def _and_expression(self) -> Test:
        tests = [self._operand()]
        while self._at_keyword("and"):
            self._next_token()
            tests.append(self._operand())
        return tests[0] if len(tests) == 1 else lambda item: all(t(item) for t in tests)

    def _operand(self) -> Test:
        if self._at_keyword("not"):
            self._next_token()
            negated = self._operand()
            return lambda item: not negated(item)
        kind, text = self._next_token()
        if kind == "open":
            test = self._or_expression()
            if self._next_token()[0] != "close":
                raise GraphError(errors.FILTER, "a parenthesis is not closed")
            return test
        if kind != "word":
            raise GraphError(errors.FILTER, text or "it ends too early")
        return self._comparison(text)

    def _comparison(self, name: str) -> Test:
        read = self._properties.get(name.lower())
        if read is None:
            raise GraphError(errors.PROPERTY, name, self._kind)
        operator = _OPERATORS.get(self._next_token()[1].lower())
        kind, text = self._next_token()
        if operator is None or kind not in ("text", "word"):
            raise GraphError(errors.FILTER, name)
        self.names.append(name)
        literal = _parse_literal(kind, text)
        compare = operator

        def test(item: Any) -> bool:
            value = read(item)
            operand = literal
            if isinstance(value, datetime) and isinstance(operand, str):
                operand = parse_instant(operand)
            try:
                return compare(value, operand)
            except TypeError as error:
                raise GraphError(errors.FILTER, f"'{text}' is of another type") from error

        return test


def _parse_literal(kind: str, text: str) -> Any:
    if kind == "text":
        return text[1:-1].replace("''", "'")
    lowered = text.lower()
    if lowered in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[lowered]
    return int(text) if text.isdigit() else parse_instant(text)
