"""Tenants, their users and the applications registered in them."""

from dataclasses import dataclass, field
from datetime import datetime

from .mailbox import Mailbox

TIMELINE_SCOPE = "Timeline.ReadWrite"
ADMIN_ROLE = "AutoCapture.Admin"

CAPTURE_CLIENT_ID = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a01"
CAPTURE_CLIENT_SECRET = "capture-secret-of-the-simulator"  # noqa: S105 - valid only in a simulator
API_CLIENT_ID = "5f0c1c5e-8a57-4c0e-9a4b-3f0f6b1f7a02"
API_CLIENT_SECRET = "timeline-secret-of-the-simulator"  # noqa: S105 - as above
"""The two default registrations of a tenant. Their secrets are public and are valid only here."""

CAPTURE_ROLES = ("Mail.Read", "Calendars.Read", "User.Read.All")

ACCESS_POLICY, NO_LICENCE, REMOVED = "access-policy", "no-licence", "removed"
THROTTLED = "throttled"
BLOCKS = (ACCESS_POLICY, NO_LICENCE, REMOVED, THROTTLED)
"""Reasons why a mailbox is closed to applications; Graph answers each with its own error."""


@dataclass(frozen=True, slots=True)
class RedirectUri:
    """A redirect URI of a registration; kind is spa, web or public."""

    uri: str
    kind: str = "spa"

    @classmethod
    def parse(cls, text: str) -> "RedirectUri":
        """Parse `http://…`, a single-page application's, or `KIND:http://…`."""
        kind, _, uri = text.partition(":")
        return cls(uri, kind) if kind in ("web", "spa", "public") else cls(text)


@dataclass(frozen=True, slots=True)
class App:
    """An application registration.

    `roles` are its application permissions on Graph. `scope` is the delegated permission that it exposes;
    an application without one is no API.
    """

    client_id: str
    name: str
    secrets: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    redirects: tuple[RedirectUri, ...] = ()
    roles: tuple[str, ...] = ()
    scope: str = ""


@dataclass(slots=True)
class User:
    """A user of a tenant; `mailbox` is None without a licence."""

    oid: str
    name: str
    address: str
    upn: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    groups_overage: bool = False
    mailbox: Mailbox | None = None
    block: str | None = None
    retry_after: int = 10
    other_addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoleAssignment:
    """Exchange's own grant to an application (RBAC for Applications), beside the roles in its token.

    Attributes:
        app: client id.
        role: name of the permission, such as `Mail.Read`; Exchange calls it `Application Mail.Read`.
        mailboxes: object ids of the mailboxes in its scope; None: all of the tenant.
        since: when it takes effect: Exchange caches its grants for up to two hours.
    """

    app: str
    role: str
    mailboxes: frozenset[str] | None
    since: datetime


@dataclass(slots=True)
class Tenant:
    """One customer organisation.

    Attributes:
        conditional_access: whether a policy refuses tokens to applications.
        tokens_not_before: Graph challenges earlier tokens of clients that declare the capability CP1.
        role_assignments: Exchange's grants to applications.
    """

    id: str
    name: str
    domain: str
    users: dict[str, User] = field(default_factory=dict)
    apps: dict[str, App] = field(default_factory=dict)
    conditional_access: bool = False
    tokens_not_before: int = 0
    role_assignments: tuple[RoleAssignment, ...] = ()
    _names: dict[str, str] = field(default_factory=dict)

    def add_user(self, user: User) -> User:
        """Add a user, or replace the user with the same object id."""
        self.users[user.oid] = user
        for name in (user.upn, user.address, *user.other_addresses):
            self._names.setdefault(name.strip().lower(), user.oid)
        return user

    def find_user(self, name: str) -> User | None:
        """Find a user by object id, user principal name or mail address."""
        key = name.strip().lower()
        return self.users.get(key) or self.users.get(self._names.get(key, ""))

    def find_directory_user(self, name: str) -> User | None:
        """Find a user as Graph does: by object id or user principal name, and by no other address."""
        key = name.strip().lower()
        user = self.find_user(key)
        return user if user is not None and key in (user.oid, user.upn.lower()) else self._by_upn(key)

    def _by_upn(self, upn: str) -> User | None:
        return next((user for user in self.users.values() if user.upn.lower() == upn), None)

    def remove_user(self, user: User) -> None:
        """Remove a user from the directory."""
        self.users.pop(user.oid, None)
        self._names = {name: oid for name, oid in self._names.items() if oid != user.oid}

    def register_app(self, app: App) -> App:
        """Add a registration, or replace the one with the same client id."""
        self.apps[app.client_id] = app
        return app


def default_apps(redirects: tuple[RedirectUri, ...] = ()) -> tuple[App, ...]:
    """The application of mail-ingest, and the API that users sign in to."""
    return (
        App(CAPTURE_CLIENT_ID, "Auto capture", (CAPTURE_CLIENT_SECRET,), roles=CAPTURE_ROLES),
        App(
            API_CLIENT_ID,
            "Timeline",
            (API_CLIENT_SECRET,),
            redirects=redirects,
            scope=TIMELINE_SCOPE,
        ),
    )
