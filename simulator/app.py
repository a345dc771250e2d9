"""The HTTP application of the simulator: authority, Graph, control interface and health on one port."""

import contextlib
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from .control import page
from .control.api import ControlApi
from .entra.authority import Authority
from .entra.signing_keys import KeyRing
from .entra.tokens import CP1, GRAPH_APP, AppToken, Tokens
from .graph import errors
from .graph.api import Graph
from .graph.batch_endpoint import BatchEndpoint
from .graph.errors import GraphError
from .graph.notifier import Notifier
from .graph.recorder import ERROR, Recorder
from .graph.requests import GraphRequest, GraphResponse
from .graph.subscription_endpoint import SubscriptionEndpoint
from .state.world import World

ODATA_JSON = (
    "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
)
TOKEN_REJECTED = 'error="invalid_token"'  # noqa: S105 - a part of a header
VERSIONS = ("v1.0", "beta")
VERSION = "v1.0"
"""Of Graph; only this one is simulated."""


def create_app(
    world: World,
    *,
    keys: KeyRing | None = None,
    tls: ssl.SSLContext | None = None,
    record: Path | None = None,
    latency: float = 0.0,
    retry_base: float = 5.0,
) -> Starlette:
    """The HTTP application of a world; its `state.browser` is the plain-http application for browsers.

    Args:
        world: the state; other threads may change it while they hold its lock.
        keys: the authority's signing keys; by default new ones.
        tls: the CAs that notifications trust; by default the system's.
        record: a folder for the recorded Graph responses.
        latency: seconds that each request to a mailbox takes.
        retry_base: seconds before the first retry of a notification.
    """
    recorder = Recorder(record)
    tokens = Tokens(world.base_url, keys or KeyRing(), world.clock)
    notifier = Notifier(world, recorder, tls or ssl.create_default_context(), retry_base)
    graph = Graph(world, recorder, latency)
    SubscriptionEndpoint(graph, notifier.handshake)
    BatchEndpoint(graph)
    gateway = _GraphGateway(world, graph, tokens, recorder)
    control = ControlApi(world, tokens, graph, notifier)
    authority = Authority(world, tokens)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await notifier.start()
        try:
            yield
        finally:
            await notifier.stop()

    app = Starlette(
        lifespan=lifespan,
        routes=[
            gateway,
            Route("/health/live", _healthy),
            Route("/health/ready", _healthy),
            *control.routes(),
            *authority.routes(),
        ],
    )
    app.state.browser = page.create_app(world, authority)
    return app


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ready"}', 200, media_type="application/json")


class _GraphGateway(BaseRoute):
    """Verifies the token of each HTTP request below a version, and passes the request to Graph."""

    def __init__(self, world: World, graph: Graph, tokens: Tokens, recorder: Recorder) -> None:
        self._world = world
        self._graph = graph
        self._tokens = tokens
        self._recorder = recorder

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Every path below a version, with any method and any characters, is Graph's."""
        is_graph = scope["type"] == "http" and _version(scope["path"]) in VERSIONS
        return (Match.FULL if is_graph else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one HTTP request."""
        response = await self._respond(Request(scope, receive))
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        raw_path = request.scope["raw_path"].decode("latin-1")
        path = raw_path.lstrip("/").partition("/")[2]
        token = self._tokens.verify(request.headers.get("authorization"))
        graph_request = GraphRequest(
            method=request.method,
            path=path,
            query=request.scope["query_string"].decode("latin-1"),
            headers={
                **request.headers,
                "prefer": ",".join(request.headers.getlist("prefer")),
            },
            body=await request.body() if request.method != "GET" else b"",
            token=token if isinstance(token, AppToken) else AppToken("", "", frozenset()),
        )
        if isinstance(token, str):
            return _http_response(self._unauthorized(graph_request, token, TOKEN_REJECTED))
        tenant = self._world.tenants.get(token.tenant)
        not_before = tenant.tokens_not_before if tenant else 0
        if CP1 in token.capabilities and token.not_before < not_before:
            challenge = _claims_challenge(not_before)
            return _http_response(self._unauthorized(graph_request, errors.REVOKED_TEXT, challenge))
        if _version(raw_path) != VERSION:
            graph_request = replace(graph_request, path=raw_path)  # no route has the version in it
        with self._world.open_requests.request(request.client.port if request.client else 0):
            return _http_response(await self._graph.respond(graph_request))

    def _unauthorized(self, request: GraphRequest, message: str, challenge: str) -> GraphResponse:
        error = GraphError(errors.TOKEN, message)
        body = error.body(self._world.clock(), request.request_id, request.client_request_id)
        self._world.counters.statuses[error.status] += 1
        self._recorder.record(ERROR, body)
        return GraphResponse(
            error.status,
            body,
            ERROR,
            {
                "request-id": request.request_id,
                "client-request-id": request.client_request_id,
                "WWW-Authenticate": f'Bearer realm="", {challenge}',
            },
        )


def _version(path: str) -> str:
    """The first segment of a path."""
    return path.lstrip("/").partition("/")[0].lower()


def _claims_challenge(not_before: int) -> str:
    """The challenge of Continuous Access Evaluation: the claims that the next token needs."""
    claims = {"access_token": {"nbf": {"essential": True, "value": str(not_before)}}}
    encoded = b64encode(orjson.dumps(claims)).decode()
    return f'client_id="{GRAPH_APP}", error="insufficient_claims", claims="{encoded}"'


def _http_response(response: GraphResponse) -> Response:
    headers = {**response.headers, "OData-Version": "4.0", "Cache-Control": "private"}
    if response.body is None:
        return Response(b"", response.status, headers)
    if isinstance(response.body, str):
        return Response(response.body, response.status, headers, "text/html")
    media_type = "application/json" if response.kind == ERROR else ODATA_JSON
    return Response(orjson.dumps(response.body), response.status, headers, media_type)
