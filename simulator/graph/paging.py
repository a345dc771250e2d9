"""OData envelopes: a single entity, or one page of a collection with the link to the next page."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from simulator.state.world import World

from . import errors
from .errors import GraphError
from .requests import GraphRequest, GraphResponse, Target

DEFAULT_PAGE_SIZE = 10
"""The page size of Outlook when the request has none."""

_TOKEN = re.compile(rb"([0-9]{1,9}):([0-9]{1,9})")


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
    *,
    default_size: int = DEFAULT_PAGE_SIZE,
    by_token: bool = False,
) -> GraphResponse:
    """A response with the page of `items` that the request selects.

    Args:
        world: the state; its faults make pages short or empty.
        request: the request.
        path: of the collection, for the context.
        items: all items of the collection.
        render: creates the JSON of an item.
        kind: the schema type of the items.
        default_size: of a page, if the request has none.
        by_token: whether the next page is found by a `$skiptoken` instead of a `$skip`.

    Raises:
        GraphError: the request's `$skiptoken` is none of a next page.
    """
    options = request.options
    skip, empty_pages = (options.skip, 0) if options.skiptoken is None else _read_token(options.skiptoken)
    size = options.top or request.prefer.page or default_size
    shown = world.faults.page_size(size, may_be_empty=not empty_pages)
    selected = items[skip : skip + shown]
    body: dict[str, Any] = {"@odata.context": _context(world, request, path, "")}
    if options.count:
        body["@odata.count"] = len(items)
    body["value"] = [render(item) for item in selected]
    if skip + shown < len(items) or not shown:
        body["@odata.nextLink"] = _next_link(
            world, request, skip + shown, empty_pages + 1 if not shown else 0, by_token=by_token or not shown
        )
    return GraphResponse(200, body, kind)


def _next_link(world: World, request: GraphRequest, skip: int, empty_pages: int, *, by_token: bool) -> str:
    places = ("$skip", "skip", "$skiptoken", "skiptoken")
    query = [
        (k, v) for k, v in parse_qsl(request.query, keep_blank_values=True) if k.strip().lower() not in places
    ]
    if by_token:
        token = urlsafe_b64encode(f"{skip}:{empty_pages}".encode()).decode()
        query.append(("$skiptoken", token))
    else:
        query.append(("$skip", str(skip)))
    link = urlencode(query, safe="$,'()")
    path = quote(request.path.strip("/"), safe="/%$()',@=+!*;:&~")
    return f"{world.base_url}/v1.0/{path}?{link}"


def _read_token(text: str) -> tuple[int, int]:
    try:
        match = _TOKEN.fullmatch(urlsafe_b64decode(text.encode()))
    except ValueError:
        match = None
    if match is None:
        raise GraphError(errors.OPTION, "$skiptoken", text)
    return int(match[1]), int(match[2])


def _context(world: World, request: GraphRequest, path: str, tail: str) -> str:
    select = request.options.select
    selected = f"({','.join(select)})" if select else ""
    return f"{world.base_url}/v1.0/$metadata#{path}{selected}{tail}"
