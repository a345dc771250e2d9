"""OData envelopes: a single entity, or one page of a collection with the link to the next page."""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from simulator.state.world import World

from . import odata
from .requests import GraphRequest, GraphResponse, Target


def collection_path(target: Target, collection: str) -> str:
    """The path of a user's collection in an `@odata.context`."""
    return f"users('{quote(target.user.oid)}')/{collection}"


def entity(world: World, request: GraphRequest, path: str, body: Any) -> Any:
    """The body of a response with one entity."""
    return {"@odata.context": _context(world, request, path, "/$entity"), **body}


def page(
    world: World,
    request: GraphRequest,
    path: str,
    items: list[Any],
    render: Callable[[Any], Any],
    kind: str,
    default_size: int = odata.DEFAULT_PAGE_SIZE,
) -> GraphResponse:
    """A response with the page of `items` that the request selects."""
    options = request.options
    size = options.top or request.prefer.page or default_size
    selected = items[options.skip : options.skip + size]
    body: dict[str, Any] = {"@odata.context": _context(world, request, path, "")}
    if options.count:
        body["@odata.count"] = len(items)
    body["value"] = [render(item) for item in selected]
    after = options.skip + size
    if after < len(items):
        query = [
            (k, v)
            for k, v in parse_qsl(request.query, keep_blank_values=True)
            if k.lower().lstrip("$") != "skip"
        ]
        link = urlencode([*query, ("$skip", str(after))], safe="$,'()")
        request_path = quote(request.path.strip("/"), safe="/$()',@=")
        body["@odata.nextLink"] = f"{world.base_url}/v1.0/{request_path}?{link}"
    return GraphResponse(200, body, kind)


def _context(world: World, request: GraphRequest, path: str, tail: str) -> str:
    select = request.options.select
    selected = f"({','.join(select)})" if select else ""
    return f"{world.base_url}/v1.0/$metadata#{path}{selected}{tail}"
