"""Graph behind a transport of the test's own, and a mailbox to read there."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import httpx2
from services.mail_ingest.tokens import Tokens

from services.mail_ingest.graph import Graph
from services.mail_ingest.settings import IngestSettings

TENANT, MAILBOX = "contoso", "ann"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)

Answer = Callable[[httpx2.Request], Any]
"""Answers a request, with a response or with a coroutine that returns one."""


class OneToken:
    """An authority that has one token."""

    async def of(self, _tenant: str) -> str:
        return "the-token"


def graph(answer: Answer) -> Graph:
    """Graph, whose answers this function gives."""
    return Graph(IngestSettings(), transport=httpx2.MockTransport(answer), tokens=cast("Tokens", OneToken()))  # type: ignore[call-arg]
