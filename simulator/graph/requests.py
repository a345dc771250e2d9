"""A request to Graph, read out of its URL however it is written, and an answer to one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from simulator.entra.tokens import AppToken

from . import odata
from .odata import Options, Preferences

_KEYED = re.compile(r"^([A-Za-z$.]+)\('((?:[^']|'')*)'\)$|^([A-Za-z$.]+)\(\)$")

TRANSPARENT = frozenset(("calendar",))
"""Segments that name the only one there is: /calendar/events are the mailbox's events."""


@dataclass(frozen=True)
class Call:
    """One request, whether it came alone or in a batch.

    `names` are the path's segments that name collections, in lower case; `keys` are the ids between
    them, as they were written.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    token: AppToken
    names: tuple[str, ...]
    keys: tuple[str, ...]
    in_batch: bool = False
    request_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def client_request_id(self) -> str:
        """The caller's own id of the request, else ours."""
        return self.headers.get("client-request-id", self.request_id)

    @cached_property
    def options(self) -> Options:
        """Its query options."""
        return odata.options(self.query)

    @cached_property
    def prefer(self) -> Preferences:
        """Its preferences."""
        return odata.preferences(self.headers.get("prefer", ""))


@dataclass(slots=True)
class Answer:
    """An answer: `kind` is the schema type of its body, or of the items in it."""

    status: int
    body: Any = None
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def segments(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and keys of a path below the version, in any of the forms that Graph takes."""
    parts: list[str] = []
    for part in path.split("/"):
        if not part:
            continue
        found = _KEYED.match(part)
        if found and found[2] is not None:
            parts += [found[1], found[2].replace("''", "'")]
        else:
            parts.append(found[3] if found else part)
    names: list[str] = []
    keys: list[str] = []
    name_next = True
    for part in parts:
        lowered = part.lower()
        if name_next or lowered in TAILS:
            if lowered in TRANSPARENT:
                continue
            names.append(lowered)
            name_next = lowered in WITHOUT_KEY
        else:
            keys.append(part)
            name_next = True
    return tuple(names), tuple(keys)


WITHOUT_KEY = frozenset(("calendarview", "$batch", "me", "reauthorize"))
"""Names that are not followed by an id."""

TAILS = frozenset(("$count",))
"""Names that may follow a collection at once."""


def split_url(url: str) -> tuple[str, str]:
    """Path below the version, and query, of a URL in a batch: relative or absolute."""
    rest = url.partition("://")[2].partition("/")[2] if "://" in url else url
    path, _, query = rest.partition("?")
    path = unquote(path).lstrip("/")
    for version in ("v1.0", "beta"):
        if path.lower() == version or path.lower().startswith(version + "/"):
            path = path[len(version) :]
    return path, query
