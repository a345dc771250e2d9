"""Tenants and users as JSON of the control interface."""

from typing import Any

from simulator.entra.tokens import Tokens
from simulator.state.tenants import Tenant, User
from simulator.state.world import World

Body = dict[str, Any]


def render_tenant(world: World, tokens: Tokens, tenant: Tenant) -> Body:
    """A tenant with its applications and users."""
    return {
        "id": tenant.id,
        "name": tenant.name,
        "domain": tenant.domain,
        "authority": f"{world.base_url}/{tenant.id}",
        "issuer": tokens.issuer(tenant.id),
        "conditional_access": tenant.conditional_access,
        "apps": [
            {
                "client_id": app.client_id,
                "name": app.name,
                "secrets": list(app.secrets),
                "redirects": [f"{r.kind}:{r.uri}" for r in app.redirects],
                "roles": list(app.roles),
                "scope": app.scope,
            }
            for app in tenant.apps.values()
        ],
        "users": [render_user(user) for user in tenant.users.values()],
    }


def render_user(user: User) -> Body:
    """A user, without the content of the mailbox."""
    return {
        "oid": user.oid,
        "name": user.name,
        "address": user.address,
        "upn": user.upn,
        "roles": list(user.roles),
        "groups": list(user.groups),
        "has_mailbox": user.mailbox is not None,
        "block": user.block,
    }
