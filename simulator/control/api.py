"""The HTTP control interface: JSON below /control.

Actions of a tenant are below /control/tenants/{tenant}. `world_actions`, `tenant_actions`, `fault_actions`
and `item_actions` have the tables of all actions.
"""

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.entra.tokens import Tokens
from simulator.graph.api import Graph
from simulator.graph.notifier import Notifier
from simulator.state.world import World

from .fault_actions import FAULT_ACTIONS
from .item_actions import ITEM_ACTIONS
from .tenant_actions import TENANT_ACTIONS, TenantActions
from .world_actions import WORLD_ACTIONS, WorldActions

Body = dict[str, Any]


class ControlApi:
    """Routes of the control interface for one world."""

    def __init__(self, world: World, tokens: Tokens, graph: Graph, notifier: Notifier) -> None:
        self.world = world
        self._world_actions = WorldActions(world, tokens, graph, notifier)
        self._tenant_actions = TenantActions(world, tokens)

    def routes(self) -> list[Route]:
        """The routes, relative to the root."""
        routes = [
            Route(
                "/control" + path,
                self._world_endpoint(partial(action, self._world_actions)),
                methods=[method],
            )
            for (method, path), action in WORLD_ACTIONS.items()
        ]
        routes += [
            Route(
                "/control/tenants/{tenant}" + path,
                self._tenant_endpoint(partial(action, self._tenant_actions)),
                methods=[method],
            )
            for (method, path), action in TENANT_ACTIONS.items()
        ]
        for (method, path), fault_action in FAULT_ACTIONS.items():
            endpoint = self._world_endpoint(partial(fault_action, self.world))
            routes.append(Route("/control" + path, endpoint, methods=[method]))
        for path, item_action in ITEM_ACTIONS.items():
            endpoint = self._tenant_endpoint(partial(item_action, self.world))
            routes.append(Route("/control/tenants/{tenant}" + path, endpoint, methods=["POST"]))
        return routes

    def _world_endpoint(self, action: Callable[..., Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            return await _run(action, request)

        return endpoint

    def _tenant_endpoint(self, action: Callable[..., Any]) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            def run_in_tenant(body: Body) -> Any:
                tenant = self.world.tenants.get(request.path_params["tenant"])
                if tenant is None:
                    raise LookupError(f"no tenant {request.path_params['tenant']}")
                return action(tenant, body)

            return await _run(run_in_tenant, request)

        return endpoint


async def _run(action: Callable[[Body], Any], request: Request) -> Response:
    """Run an action with the body and query of a request; its errors become 404 or 400."""
    try:
        raw = await request.body()
        body = orjson.loads(raw) if raw else {}
        body |= dict(request.query_params)
        result = action(body)
        if inspect.isawaitable(result):
            result = await result
        return Response(orjson.dumps(result), 200, media_type="application/json")
    except KeyError as error:
        return _error_response(400, f"{error} is missing")
    except LookupError as error:
        return _error_response(404, str(error))
    except FileNotFoundError as error:
        return _error_response(404, str(error))
    except (ValueError, TypeError, OverflowError, orjson.JSONDecodeError) as error:
        return _error_response(400, str(error))


def _error_response(status: int, text: str) -> Response:
    return Response(orjson.dumps({"error": text}), status, media_type="application/json")
