"""What Graph and the sign-in authority may answer instead of what was asked for."""

from datetime import timedelta

from shared.errors import Transient


class Unavailable(Transient):
    """Graph, or the authority, cannot answer now.

    Attributes:
        retry_after: as it said, or None.
        throttled: it is the mailbox's own load.
    """

    def __init__(self, why: str, retry_after: timedelta | None = None, *, throttled: bool = False) -> None:
        super().__init__(why)
        self.retry_after = retry_after
        self.throttled = throttled


class Gone(Exception):
    """The item is not there."""


class Blocked(Exception):
    """The mailbox is not to be had.

    Attributes:
        reason: one word for people and programs.
        tenant_wide: it is the tenant's token that is refused.
    """

    def __init__(self, reason: str, *, tenant_wide: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.tenant_wide = tenant_wide
