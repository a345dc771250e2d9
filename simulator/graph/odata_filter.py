"""The `$filter` option: a property compared with a literal of its type, `and`, `or`, `not`, parentheses.

Functions, lambdas and other operators of OData are not simulated, and are refused as such.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import errors
from .comparables import Comparable, ComparableType, Literal
from .errors import GraphError
from .literals import parse_date_time, parse_moment

_TOKEN = re.compile(
    r"\s*(?:(?P<open>\()|(?P<close>\))|(?P<comma>,)|(?P<text>'(?:[^']|'')*')|(?P<word>[^\s()',]+))"
)
_EQUALITY: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "ne": lambda a, b: bool(a != b),
}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, b: a is not None and bool(a > b),
    "ge": lambda a, b: a is not None and bool(a >= b),
    "lt": lambda a, b: a is not None and bool(a < b),
    "le": lambda a, b: a is not None and bool(a <= b),
}
_ORDERED = (Literal.MOMENT, Literal.WALL_TIME)
_OTHER_OPERATORS = frozenset(("in", "has", "add", "sub", "mul", "div", "mod"))

MAX_DEPTH = 50
"""Parentheses and negations in each other."""

Test = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter: its test of an item, and the properties that it names, in their order."""

    test: Test
    names: tuple[str, ...]


def parse_filter(text: str, kind: ComparableType) -> Filter:
    """Parse a filter over items of a type.

    Raises:
        GraphError: the filter is malformed, compares with a literal of another type, names an unknown
            property, or is not simulated.
    """
    parser = _Parser(text, kind)
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

    def __init__(self, text: str, kind: ComparableType) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._kind = kind
        self._depth = 0
        self.names: list[str] = []
        position = 0
        while position < len(text.rstrip()):
            match = _TOKEN.match(text, position)
            if match is None:
                raise GraphError(errors.FILTER, text)
            self._tokens.append((str(match.lastgroup), str(match.group(str(match.lastgroup)))))
            position = match.end()
        self._tokens.reverse()

    def parse(self) -> Test:
        test = self._or_expression()
        if self._tokens:
            raise GraphError(errors.FILTER, self._tokens[-1][1])
        return test

    def _peek(self) -> tuple[str, str]:
        return self._tokens[-1] if self._tokens else ("end", "")

    def _next_token(self) -> tuple[str, str]:
        return self._tokens.pop() if self._tokens else ("end", "")

    def _at_keyword(self, keyword: str) -> bool:
        kind, text = self._peek()
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
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise GraphError(errors.FILTER, "it is too deep")
        try:
            return self._nested_operand()
        finally:
            self._depth -= 1

    def _nested_operand(self) -> Test:
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
        if kind == "text":
            raise GraphError(errors.NOT_SIMULATED, "a comparison that begins with a literal")
        if kind != "word":
            raise GraphError(errors.FILTER, text or "it ends too early")
        if self._peek()[0] == "open":
            raise GraphError(errors.NOT_SIMULATED, f"the function {text} in a filter")
        return self._comparison(text)

    def _comparison(self, name: str) -> Test:
        comparable = self._kind.find(name)
        operator = self._next_token()[1].lower()
        if operator in _OTHER_OPERATORS:
            raise GraphError(errors.NOT_SIMULATED, f"the operator {operator} in a filter")
        compare = _EQUALITY.get(operator) or _ORDER.get(operator)
        if compare is None:
            raise GraphError(errors.FILTER, f"{name} {operator}".strip())
        if operator in _ORDER and comparable.literal not in _ORDERED:
            raise GraphError(errors.NOT_SIMULATED, f"the operator {operator} for {name}")
        self.names.append(name)
        literal = _parse_literal(comparable, *self._next_token())
        read = comparable.read
        if comparable.literal is Literal.CASELESS:
            return lambda item: compare((read(item) or "").casefold(), literal.casefold())
        return lambda item: compare(read(item), literal)


def _parse_literal(comparable: Comparable, kind: str, text: str) -> Any:
    """The value of a literal, which has to be of the property's type."""
    expected = "text" if comparable.literal not in (Literal.MOMENT, Literal.FLAG) else "word"
    if text.lower() == "null":
        raise GraphError(errors.NOT_SIMULATED, "null in a filter")
    if kind != expected:
        raise GraphError(errors.FILTER, f"{text or 'nothing'} is not of the property's type")
    if comparable.literal is Literal.MOMENT:
        return parse_moment(text)
    if comparable.literal is Literal.FLAG:
        if text not in ("true", "false"):
            raise GraphError(errors.FILTER, f"{text} is not true or false")
        return text == "true"
    value = text[1:-1].replace("''", "'")
    if comparable.literal is Literal.WALL_TIME:
        return parse_date_time(value)
    if comparable.values and value not in comparable.values:
        raise GraphError(errors.FILTER, f"{text} is not among the values")
    return value
