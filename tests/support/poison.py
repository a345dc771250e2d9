"""Poisoned messages for every topic: keys, headers and values of every wrong type, size and number.

They are made of good ones, with one change each. What they hold as text is `SECRET`, so that a test finds it
wherever it leaks.
"""

import json
import random
from collections.abc import Iterator
from typing import Any

from shared.clock import MAX_VERSION
from shared.topics import RECORDS, Topic

from .raw_batches import RawMessage

SECRET = "what Mia has written"

NUMBERS: tuple[Any, ...] = (
    -1,
    0,
    2**31,
    2**53 + 1,
    MAX_VERSION,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
)
FLOATS: tuple[Any, ...] = (0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"))
TEXTS: tuple[Any, ...] = (
    "",
    " ",
    "/",
    f"a/{SECRET}",
    f"{SECRET}\0",
    f"${SECRET}",
    f"$.{SECRET}.$[]",
    "../..",
    "\u202e\ufeff",
    "\U0010ffff",
    "\ud800",
    SECRET * 5_000,
    "a\u0300\u0316" * 5_000,
)
TIMES: tuple[Any, ...] = (
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-12:00",
    "9998-12-31T23:59:59Z",
    "0002-01-01T00:00:00Z",
    "2026-11-20T24:00:00Z",
    "2026-11-20T09:12:00+00:00:30",
    "2026-11-20",
    f"{SECRET}T00:00:00Z",
    1e300,
    -1e18,
)
SHAPES: tuple[Any, ...] = (
    None,
    True,
    [],
    {},
    [[]],
    [None] * 20_000,
    {SECRET: SECRET},
    {"$set": {"a.b": SECRET}},
)
LEAVES = (*NUMBERS, *FLOATS, *TEXTS, *TIMES, *SHAPES)

RAW_VALUES: tuple[bytes, ...] = (
    b"",
    b"{",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    b"1" * 100_000,
    b'"\\ud800"',
    b'{"tenant": "\\ud800"}',
    json.dumps(SECRET).encode(),
    json.dumps({SECRET: 1}).encode(),
)
RAW_KEYS: tuple[bytes, ...] = (
    b"",
    b"/",
    b"///",
    b"contoso",
    b"contoso//1",
    b"\xff/mia/1",
    b"\xed\xa0\x80/mia/1",
    b"contoso/mia/\0",
    b"contoso/mia/" + b"a" * 100_000,
    b"$where/mia/1",
    b"contoso/" + SECRET.encode(),
    b"contoso/account/a/b",
)
HEADER_VALUES: tuple[bytes | None, ...] = (
    None,
    b"",
    b"-1",
    b"+1",
    b" 1",
    b"1_0",
    b"1.5",
    b"\xb2",
    b"\xd9\xa3",
    str(2**63 - 1).encode(),
    str(2**63).encode(),
    str(MAX_VERSION + 1).encode(),
    b"9" * 5_000,
    SECRET.encode(),
    b"\xff",
)
HEADER_NAMES = (b"ce_type", b"ce_version", b"ce_epoch", b"ce_sequence")
HEADER_NAMES_OF_OTHERS = (b"", SECRET.encode(), b"\xff", SECRET.encode() + b"\xc3", b"\xed\xa0\x80")


def poisoned(topic: Topic[Any, Any], good: RawMessage) -> Iterator[RawMessage]:
    """All poisoned messages that are made of a good one.

    Some are valid all the same, such as one with an unusual time.
    """
    yield from _with_other_fields(good)
    for value in RAW_VALUES:
        yield good._replace(value=value)
    for key in RAW_KEYS:
        yield good._replace(key=key)
    for name in HEADER_NAMES_OF_OTHERS:
        yield good._replace(headers=[*good.headers, (name, SECRET.encode())])
    value = good.value or b"{}"
    yield good._replace(value=value[:-1] + b"," + value[1:])  # every field twice
    yield good._replace(value=value[:-1] + b',"pad":"' + SECRET.encode() * 60_000 + b'"}')
    if topic is not RECORDS:
        yield from _with_other_headers(good)


def some_poisoned(topic: Topic[Any, Any], good: RawMessage, count: int, seed: int) -> list[RawMessage]:
    """Some of them, by a seed."""
    return random.Random(seed).sample(list(poisoned(topic, good)), count)


def _with_other_fields(good: RawMessage) -> Iterator[RawMessage]:
    """Each place of the value is each other thing, or is missing; each mapping has one more name."""
    value = json.loads(good.value or b"{}")
    for container, name in list(_places(value)):
        before = container[name]
        for leaf in LEAVES:
            container[name] = leaf
            yield good._replace(value=json.dumps(value).encode())
        container[name] = before
        if isinstance(container, dict):
            container[f"{SECRET}.$"] = container.pop(name)
            yield good._replace(value=json.dumps(value).encode())
            container[name] = container[f"{SECRET}.$"]
            yield good._replace(value=json.dumps(value).encode())
            del container[f"{SECRET}.$"]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in list(pairs):
        yield value, name
        yield from _places(each)


def _with_other_headers(good: RawMessage) -> Iterator[RawMessage]:
    """Each header is each other thing, is missing, or comes twice, with the value and as a tombstone."""
    for name in HEADER_NAMES:
        others = [each for each in good.headers if each[0] != name]
        replaced: list[list[tuple[bytes, bytes | None]]] = [[], [(name, b"1"), (name, b"x")]]
        for headers in replaced + [[(name, value)] for value in HEADER_VALUES]:
            yield good._replace(headers=[*others, *headers])
            yield good._replace(headers=[*others, *headers], value=None)
