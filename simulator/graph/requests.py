"""A request to Graph, parsed from any form of URL that Graph accepts, and a response."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from simulator.entra.tokens import AppToken
from simulator.state.mailbox import Mailbox
from simulator.state.tenants import Tenant, User

from . import odata
from .odata import Options, Preferences

_KEYED = re.compile(r"^([A-Za-z$.]+)\('((?:[^']|'')*)'\)$|^([A-Za-z$.]+)\(\)$")

TRANSPARENT = frozenset(("calendar",))
"""Segments that name a singleton: /calendar/events are the events of the mailbox."""

WITHOUT_KEY = frozenset(("calendarview", "$batch", "me", "reauthorize"))
"""Names that no id follows."""

TAILS = frozenset(("$count",))
"""Names that may follow a collection directly."""


@dataclass(frozen=True)
class GraphRequest:
    """One request, alone or as a part of a batch.

    `names` are the path segments that name collections, in lower case; `keys` are the ids between
    them, unchanged.
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
        """The caller's id of the request; without one, the id of the simulator."""
        return self.headers.get("client-request-id", self.request_id)

    @cached_property
    def options(self) -> Options:
        """Its query options."""
        return odata.parse_options(self.query)

    @cached_property
    def prefer(self) -> Preferences:
        """Its preferences."""
        return odata.parse_preferences(self.headers.get("prefer", ""))


@dataclass(slots=True)
class GraphResponse:
    """A response; `kind` is the schema type of its body, or of the items in the body."""

    status: int
    body: Any = None
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The user and mailbox that a path names, and whether the caller may read bodies."""

    tenant: Tenant
    user: User
    mailbox: Mailbox
    bodies: bool


def parse_path(path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and keys of a path below the version, in any of the forms that Graph accepts."""
    parts: list[str] = []
    for part in path.split("/"):
        if not part:
            continue
        keyed = _KEYED.match(part)
        if keyed and keyed[2] is not None:
            parts += [keyed[1], keyed[2].replace("''", "'")]
        else:
            parts.append(keyed[3] if keyed else part)
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


def split_url(url: str) -> tuple[str, str]:
    """Path below the version, and query, of a relative or absolute URL in a batch."""
    rest = url.partition("://")[2].partition("/")[2] if "://" in url else url
    path, _, query = rest.partition("?")
    path = unquote(path).lstrip("/")
    for version in ("v1.0", "beta"):
        if path.lower() == version or path.lower().startswith(version + "/"):
            path = path[len(version) :]
    return path, query
