"""What a request may do to one tenant; the table at the end lists all actions."""
# ruff: noqa: ARG002 - all actions have one signature, with or without a body

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from simulator.archive import reader
from simulator.archive.tenant_archive import TenantArchive
from simulator.entra.tokens import Tokens
from simulator.state.tenants import BLOCKS, App, RedirectUri, RoleAssignment, Tenant, User
from simulator.state.world import World

from .rendering import render_tenant, render_user

Body = dict[str, Any]

REVOCATION_MARGIN = timedelta(seconds=5)
"""A token needs the claims of the challenge: a new one without them is before the revocation, too."""


class TenantActions:
    """The actions on the tenants of one world."""

    def __init__(self, world: World, tokens: Tokens) -> None:
        self.world = world
        self.tokens = tokens
        self.archives: dict[str, TenantArchive] = {}

    def show_tenant(self, tenant: Tenant, body: Body) -> Any:
        """The tenant, its applications and users."""
        return render_tenant(self.world, self.tokens, tenant)

    def change_tenant(self, tenant: Tenant, body: Body) -> Any:
        """Switch the conditional access policy that blocks applications on or off."""
        tenant.conditional_access = bool(body["conditional_access"])
        return render_tenant(self.world, self.tokens, tenant)

    def register_app(self, tenant: Tenant, body: Body) -> Any:
        """Add or change a registration: client_id, secrets, certificates, redirects, roles, scope."""
        client = str(body.pop("client_id"))
        app = tenant.apps.get(client, App(client, body.get("name", client)))
        for name in ("secrets", "certificates", "roles"):
            if name in body:
                body[name] = tuple(body[name])
        if "redirects" in body:
            body["redirects"] = tuple(map(RedirectUri.parse, body["redirects"]))
        tenant.register_app(replace(app, **body))
        return render_tenant(self.world, self.tokens, tenant)

    def grant_role(self, tenant: Tenant, body: Body) -> Any:
        """Let Exchange grant `client_id` a `role`, such as Mail.Read, on `mailboxes`; without them on all.

        The grant takes effect after `seconds`. An empty `role` removes all grants of the application.
        """
        client, role = body["client_id"], body["role"]
        others = tuple(each for each in tenant.role_assignments if each.app != client)
        if not role:
            tenant.role_assignments = others
            return {}
        names = body.get("mailboxes")
        mailboxes = None if names is None else frozenset(_find_user(tenant, name).oid for name in names)
        since = self.world.clock() + timedelta(seconds=body.get("seconds", 0))
        tenant.role_assignments += (RoleAssignment(client, role, mailboxes, since),)
        return {}

    def add_user(self, tenant: Tenant, body: Body) -> Any:
        """Add a user with a mailbox: address, name, oid, upn, roles, groups, other_addresses."""
        for name in ("roles", "groups", "other_addresses"):
            body[name] = tuple(body.get(name, ()))
        return render_user(self.world.add_user(tenant, body.pop("address"), **body))

    def change_user(self, tenant: Tenant, body: Body) -> Any:
        """Change a user's roles, groups or name, or close the mailbox (`block`; empty opens it)."""
        user = _find_user(tenant, body.pop("user"))
        if body.get("block") not in (None, "", *BLOCKS):
            raise ValueError(f"no block {body['block']}; the blocks are {', '.join(BLOCKS)}")
        if "block" in body:
            body["block"] = body["block"] or None
        for name, value in body.items():
            if name not in ("name", "roles", "groups", "groups_overage", "block", "retry_after"):
                raise ValueError(f"{name} cannot be changed")
            setattr(user, name, tuple(value) if isinstance(value, list) else value)
        return render_user(user)

    def remove_user(self, tenant: Tenant, body: Body) -> Any:
        """Remove a user with the mailbox from the directory."""
        tenant.remove_user(_find_user(tenant, body["user"]))
        return {}

    def mint_user_token(self, tenant: Tenant, body: Body) -> Any:
        """Sign a user's access token without a sign-in; `kind` selects an invalid token."""
        user = _find_user(tenant, body["user"])
        apis = [app for app in tenant.apps.values() if app.scope]
        api = next((a for a in apis if a.client_id == body.get("api")), apis[0])
        client = body.get("client_id", api.client_id)
        claims = self.tokens.user_claims(tenant, user, api, client, api.scope)
        claims |= body.get("claims", {})
        kind = body.get("kind", "valid")
        token = self.tokens.sign(claims) if kind == "valid" else self.tokens.sign_invalid(kind, claims)
        return {"access_token": token}

    def mint_app_token(self, tenant: Tenant, body: Body) -> Any:
        """Sign an application's token for Graph; `roles` replaces the registered ones, `claims` any claims.

        A claim that is null is left out.
        """
        app = tenant.apps[body["client_id"]]
        roles = body.get("roles")
        app = app if roles is None else replace(app, roles=tuple(roles))
        claims = self.tokens.app_claims(tenant, app) | body.get("claims", {})
        present = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": self.tokens.sign(present)}

    def revoke_tokens(self, tenant: Tenant, body: Body) -> Any:
        """Make Graph challenge the tokens of applications that can respond to a claims challenge."""
        now = int(self.world.clock().timestamp())
        tenant.tokens_not_before = now + int(REVOCATION_MARGIN.total_seconds())
        return {"tokens_not_before": tenant.tokens_not_before}

    async def load_archive(self, tenant: Tenant, body: Body) -> Any:
        """Load folders of mail and of calendars; no item arrives before it is released."""
        mail, events = body.get("mail"), body.get("meetings")
        content = await asyncio.to_thread(
            reader.read,
            Path(mail) if mail else None,
            Path(events) if events else None,
            self.world.now(),
        )
        archive = self.archives.setdefault(tenant.id, TenantArchive(self.world, tenant))
        archive.add(content)
        return self.show_archive(tenant, {})

    def show_archive(self, tenant: Tenant, body: Body) -> Any:
        """The mailboxes of the loaded archives, with the counts of released and remaining items."""
        archive = self.archives.get(tenant.id)
        return [] if archive is None else [each.as_dict() for each in archive.mailboxes.values()]

    def release_archive(self, tenant: Tenant, body: Body) -> Any:
        """Release the next `count` items of `mailbox`; without them all items, of all mailboxes."""
        archive = self.archives.get(tenant.id)
        if archive is None:
            raise LookupError("no archive is loaded")
        with self.world.lock:
            released = archive.release(body.get("mailbox"), body.get("count"))
        remaining = sum(len(each.items) for each in archive.mailboxes.values())
        return {"released": released, "remaining": remaining}


def _find_user(tenant: Tenant, name: str) -> User:
    user = tenant.find_user(name)
    if user is None:
        raise LookupError(f"no user {name}")
    return user


TENANT_ACTIONS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("GET", ""): TenantActions.show_tenant,
    ("PATCH", ""): TenantActions.change_tenant,
    ("POST", "/apps"): TenantActions.register_app,
    ("POST", "/grants"): TenantActions.grant_role,
    ("POST", "/users"): TenantActions.add_user,
    ("PATCH", "/users"): TenantActions.change_user,
    ("DELETE", "/users"): TenantActions.remove_user,
    ("POST", "/tokens"): TenantActions.mint_user_token,
    ("POST", "/tokens/app"): TenantActions.mint_app_token,
    ("POST", "/tokens/revoke"): TenantActions.revoke_tokens,
    ("POST", "/archive"): TenantActions.load_archive,
    ("GET", "/archive"): TenantActions.show_archive,
    ("POST", "/archive/release"): TenantActions.release_archive,
}
