"""Which mailboxes an application may read: by the roles in its token, and by Exchange's own grants."""

from dataclasses import dataclass
from datetime import datetime

from simulator.entra.tokens import AppToken
from simulator.state.tenants import Tenant, User

from . import errors
from .errors import GraphError


@dataclass(frozen=True, slots=True)
class Permission:
    """The application permissions that may read something with bodies (`full`), or without (`basic`)."""

    full: frozenset[str]
    basic: frozenset[str] = frozenset()


FULL_ACCESS = "Exchange Full Access"
"""Exchange's role with all permissions on mail and calendars."""

MAIL = Permission(
    frozenset(("Mail.Read", "Mail.ReadWrite", FULL_ACCESS)),
    frozenset(("Mail.ReadBasic.All", "Mail.ReadBasic")),
)
CALENDAR = Permission(
    frozenset(("Calendars.Read", "Calendars.ReadWrite", FULL_ACCESS)),
    frozenset(("Calendars.ReadBasic.All", "Calendars.ReadBasic")),
)
DIRECTORY = Permission(
    frozenset(("User.Read.All", "User.ReadBasic.All", "User.ReadWrite.All", "Directory.Read.All"))
)


def check_directory(token: AppToken) -> None:
    """Raise GraphError if the application may not read users."""
    if token.roles.isdisjoint(DIRECTORY.full):
        raise GraphError(errors.DIRECTORY_DENIED)


def check_any(token: AppToken, permission: Permission, tenant: Tenant, now: datetime) -> None:
    """Raise GraphError if the application has a permission in no mailbox: neither by role nor by grant."""
    granted = _granted(token, tenant, now, None)
    if (token.roles | granted).isdisjoint(permission.full | permission.basic):
        raise GraphError(errors.NO_PERMISSIONS)


def may_read_bodies(
    token: AppToken, permission: Permission, tenant: Tenant, user: User, now: datetime
) -> bool:
    """Whether the application reads a mailbox with bodies.

    Raises:
        GraphError: it may not read it; the mailbox is out of the scope of its grants.
    """
    held = token.roles | _granted(token, tenant, now, user)
    if not held.isdisjoint(permission.full):
        return True
    if held.isdisjoint(permission.basic):
        raise GraphError(errors.DENIED)
    return False


def _granted(token: AppToken, tenant: Tenant, now: datetime, user: User | None) -> frozenset[str]:
    """The permissions that Exchange grants on a mailbox; without a user on any mailbox."""
    return frozenset(
        each.role
        for each in tenant.role_assignments
        if each.app == token.app
        and each.since <= now
        and (user is None or each.mailboxes is None or user.oid in each.mailboxes)
    )
