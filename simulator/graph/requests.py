"""A request to Graph, from the network or from a batch, and a response."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import uuid4

import orjson

from simulator.entra.tokens import AppToken
from simulator.state.mailbox import Mailbox
from simulator.state.tenants import Tenant, User

from . import errors, odata, preferences
from .errors import GraphError
from .odata import Options
from .paths import Segment, parse_path
from .preferences import Preferences


@dataclass(frozen=True)
class GraphRequest:
    """One request, alone or as a part of a batch; `path` is percent-encoded and below the version."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    token: AppToken
    in_batch: bool = False
    request_id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def client_request_id(self) -> str:
        """The caller's id of the request; without one, the id of the simulator."""
        return self.headers.get("client-request-id", self.request_id)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The parts of its path."""
        return parse_path(self.path)

    @cached_property
    def options(self) -> Options:
        """Its query options."""
        return odata.parse_options(self.query)

    @cached_property
    def prefer(self) -> Preferences:
        """Its preferences."""
        return preferences.parse_preferences(self.headers.get("prefer", ""))

    def json(self) -> Any:
        """Its body; GraphError if it is no JSON, or is not declared as such."""
        try:
            if "json" not in self.headers.get("content-type", "").lower():
                raise GraphError(errors.JSON)
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise GraphError(errors.JSON) from error

    @property
    def is_advanced(self) -> bool:
        """Whether it requests the advanced query capabilities of the directory."""
        return self.headers.get("consistencylevel", "").lower() == "eventual"


@dataclass(slots=True)
class GraphResponse:
    """A response; `kind` is the schema type of its body, or of the items in the body."""

    status: int
    body: Any = None
    kind: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """The user and mailbox that a path names, its further ids, and whether the caller may read bodies."""

    tenant: Tenant
    user: User
    mailbox: Mailbox
    bodies: bool
    keys: tuple[str, ...] = ()
