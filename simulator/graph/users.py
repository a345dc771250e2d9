"""Handlers of /users and /users/{id}."""

from collections.abc import Callable, Mapping
from typing import Any

from simulator.state.tenants import REMOVED, Tenant, User
from simulator.state.world import World

from . import odata_filter, paging, resources
from .requests import GraphRequest, GraphResponse, Target

USER_FILTERS: Mapping[str, Callable[[User], Any]] = {
    "id": lambda u: u.oid,
    "userPrincipalName": lambda u: u.upn,
    "mail": lambda u: u.address,
    "displayName": lambda u: u.name,
    "accountEnabled": lambda _: True,
}
DIRECTORY_PAGE_SIZE = 100


def list_users(world: World, request: GraphRequest, tenant: Tenant) -> GraphResponse:
    """The users of the directory, by name."""
    options = request.options
    users = sorted(tenant.users.values(), key=lambda u: u.name)
    users = [u for u in users if u.block != REMOVED]
    if options.filter:
        condition = odata_filter.parse_filter(options.filter, USER_FILTERS, "Microsoft.Graph.User")
        users = [u for u in users if condition.test(u)]
    rendered = [resources.user(u, options.select) for u in users]
    return paging.page(
        world, request, "users", rendered, lambda item: item, "user", default_size=DIRECTORY_PAGE_SIZE
    )


def get_user(world: World, request: GraphRequest, target: Target) -> GraphResponse:
    """One user."""
    body = resources.user(target.user, request.options.select)
    return GraphResponse(200, paging.entity(world, request, "users", body), "user")
