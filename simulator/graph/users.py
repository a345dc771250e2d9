"""Handlers of /users and /users/{id}."""

from simulator.state.tenants import REMOVED
from simulator.state.world import World

from . import comparables, errors, odata_filter, paging, resources
from .errors import GraphError
from .requests import GraphRequest, GraphResponse, Target

DEFAULT_SIZE = 100
MAX_TOP = 999
"""Sizes of a page of the directory."""


def list_users(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """The users of the directory, by name."""
    options, kind = request.options, comparables.USER
    if "$skip" in options.raw:
        raise GraphError(errors.NO_SKIP)
    if (options.top or 0) > MAX_TOP:
        raise GraphError(errors.OPTION, "$top", options.top)
    if not request.is_advanced and (options.count or (options.filter and options.orderby)):
        raise GraphError(errors.ADVANCED, "$count" if options.count else "$orderby with $filter")
    users = sorted(target.tenant.users.values(), key=lambda u: u.name)
    users = [u for u in users if u.block != REMOVED]
    if options.filter:
        condition = odata_filter.parse_filter(options.filter, kind)
        users = [u for u in users if condition.test(u)]
    users = comparables.sort_items(users, options.orderby, kind)
    return paging.page(
        world,
        request,
        "users",
        users,
        lambda u: resources.user(u, options.select),
        "user",
        default_size=DEFAULT_SIZE,
        by_token=True,
    )


def get_user(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One user."""
    body = resources.user(target.user, request.options.select)
    return GraphResponse(200, paging.entity(world, request, "users", body), "user")
