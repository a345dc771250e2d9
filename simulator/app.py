"""The simulator over HTTP: authority, Graph, control API and health on one port."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.control import page as browser
from simulator.control.api import Control
from simulator.entra.authority import Authority
from simulator.entra.signing_keys import KeyRing
from simulator.entra.tokens import AppToken, Tokens
from simulator.graph import errors as errors
from simulator.graph.api import Graph
from simulator.graph.batch_endpoint import Batches
from simulator.graph.errors import GraphError
from simulator.graph.notifier import Notifier
from simulator.graph.recorder import ERROR, Recorder
from simulator.graph.requests import Answer, Call, segments
from simulator.graph.subscription_endpoint import Subscriptions
from simulator.state.world import World

JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
METHODS = ["GET", "POST", "PATCH", "PUT", "DELETE"]


def create_app(
    world: World,
    *,
    keys: KeyRing | None = None,
    tls: ssl.SSLContext | None = None,
    record: Path | None = None,
    latency: float = 0.0,
    retry_base: float = 5.0,
) -> Starlette:
    """HTTP around a world; its `state.browser` is the part of it that browsers get over plain http.

    Args:
        world: the state, which others may go on changing while they hold its lock.
        keys: the authority's signing keys; fresh ones if none are given.
        tls: whom notifications trust; the system's CAs if nothing is given.
        record: a folder for every Graph answer.
        latency: seconds that a mailbox takes over a request.
        retry_base: seconds before a notification's first retry.
    """
    recorder = Recorder(record)
    tokens = Tokens(world.base_url, keys or KeyRing(), world.clock)
    notifier = Notifier(world, recorder, tls or ssl.create_default_context(), retry_base)
    graph = Graph(world, recorder, latency)
    Subscriptions(graph, notifier.handshake)
    Batches(graph)
    door = _Door(world, graph, tokens, recorder)
    control = Control(world, tokens, graph, notifier)

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
            Route("/v1.0/{path:path}", door.answer, methods=METHODS),
            Route("/beta/{path:path}", door.answer, methods=METHODS),
            Route("/health/live", _healthy),
            Route("/health/ready", _healthy),
            *control.routes(),
            *authority.routes(),
        ],
    )
    app.state.browser = browser.create_app(world, authority)
    return app


async def _healthy(_: Request) -> Response:
    return Response(b'{"status":"ready"}', 200, media_type="application/json")


class _Door:
    """Lets requests with a token through to Graph."""

    def __init__(self, world: World, graph: Graph, tokens: Tokens, recorder: Recorder) -> None:
        self._world = world
        self._graph = graph
        self._tokens = tokens
        self._recorder = recorder

    async def answer(self, request: Request) -> Response:
        """The answer to one request over HTTP."""
        path = request.scope["path"].partition("/")[2].partition("/")[2]
        names, keys = segments(path)
        token = self._tokens.read(request.headers.get("authorization"))
        call = Call(
            method=request.method,
            path=path,
            query=request.scope["query_string"].decode("latin-1"),
            headers={
                **request.headers,
                "prefer": ",".join(request.headers.getlist("prefer")),
            },
            body=await request.body() if request.method != "GET" else b"",
            token=token if isinstance(token, AppToken) else AppToken("", "", frozenset()),
            names=names,
            keys=keys,
        )
        if isinstance(token, str):
            return _response(self._refused(call, token))
        return _response(await self._graph.answer(call))

    def _refused(self, call: Call, why: str) -> Answer:
        error = GraphError(errors.TOKEN, why)
        body = error.body(self._world.clock(), call.request_id, call.client_request_id)
        self._world.counters.statuses[error.status] += 1
        self._recorder.record(ERROR, body)
        return Answer(
            error.status,
            body,
            ERROR,
            {
                "request-id": call.request_id,
                "client-request-id": call.client_request_id,
                "WWW-Authenticate": 'Bearer realm="", error="invalid_token"',
            },
        )


def _response(answer: Answer) -> Response:
    headers = {**answer.headers, "OData-Version": "4.0", "Cache-Control": "private"}
    if answer.body is None:
        return Response(b"", answer.status, headers)
    kind = "application/json" if answer.kind == ERROR else JSON
    return Response(orjson.dumps(answer.body), answer.status, headers, kind)
