"""Graph behind a transport of the test's own."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

import httpx2

from services.mail_ingest.domain.activities import Payload
from services.mail_ingest.domain.kinds import KINDS, KindRow, KindTable
from services.mail_ingest.graph.client import GraphClient
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.graph.tokens import TokenSource
from services.mail_ingest.settings import IngestSettings
from shared.keys import MailboxKey

ANN = MailboxKey("contoso", "ann")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

IMMUTABLE = {"Preference-Applied": 'IdType="ImmutableId"'}
"""A header of Graph's answers with ids."""

Respond: TypeAlias = Callable[[httpx2.Request], Any]
"""Responds to a request: a response, or a coroutine that returns one."""


class StubTokens:
    """A sign-in authority that grants every token."""

    async def get(self, _tenant: str) -> str:
        return "token"

    async def replace(self, _tenant: str, _refused: str, _claims: str | None) -> bool:
        return True


def create_graph(respond: Respond, kinds: KindTable = KINDS) -> Graph:
    """Graph, with the responses of this function."""
    settings, tokens = IngestSettings(), cast("TokenSource", StubTokens())
    client = GraphClient(
        settings, transport=httpx2.MockTransport(respond), tokens=tokens, backoff=lambda _: 0.0
    )
    return Graph(settings, kinds, client)


async def read_window(graph: Graph, row: KindRow, start: datetime, end: datetime) -> list[Payload]:
    """All items of one kind in a window."""
    return [item async for page in graph.items.read_window(ANN, row, start, end) for item in page]
