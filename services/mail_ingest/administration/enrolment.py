"""Enrols mailboxes, any number at once, with audit records."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.mail_ingest.domain.retries import BlockReason
from services.mail_ingest.domain.status_changes import ENROL
from services.mail_ingest.graph.errors import GraphUnavailableError, MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.store.database import Store
from services.mail_ingest.store.documents import AuditEntry, Mailbox
from shared.clock import Clock
from shared.keys import MailboxKey

OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NAME = re.compile(r"[^/\s]{1,320}")
"""What may be an object id or a user principal name."""
NO_NAME = "not_a_name"
"""The reason of a name that is neither."""
LOOKUPS_AT_ONCE = 8
"""Requests to Graph in flight for user principal names."""
MAX_NAMES = 500
"""Mailboxes of one call: four operations of MongoDB enrol them."""


@dataclass(slots=True)
class Enrolment:
    """What an enrolment of several mailboxes led to.

    Attributes:
        enrolled: the mailboxes, by their names.
        failed: why others are not enrolled, by their names: as that of a blocked mailbox, or `NO_NAME`.
    """

    enrolled: dict[str, Mailbox] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class MailboxEnrolment:
    """The enrolment of mailboxes.

    Args:
        store: of this service.
        graph: finds users by name.
        clock: the present time.
        actor: of the audit records.
    """

    def __init__(self, store: Store, graph: Graph, clock: Clock, actor: str) -> None:
        self._store = store
        self._graph = graph
        self._clock = clock
        self._actor = actor

    async def enrol(self, tenant: str, name: str) -> Mailbox:
        """Enrols a mailbox by its owner's object id or user principal name; an enrolled one stays as it is.

        Raises:
            GraphUnavailableError, MailboxBlockedError: Graph does not find the user principal name.
        """
        return (await self._record(tenant, {name: await self._find(tenant, name)}))[name]

    async def enrol_many(self, tenant: str, names: Sequence[str]) -> Enrolment:
        """Enrols mailboxes, at most `MAX_NAMES`; a name that fails harms no other."""
        limit = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        enrolment, found = Enrolment(), dict[str, _Owner]()

        async def find(name: str) -> None:
            try:
                async with limit:
                    found[name] = await self._find(tenant, name)
            except MailboxBlockedError as error:
                enrolment.failed[name] = error.reason
            except GraphUnavailableError:
                enrolment.failed[name] = BlockReason.UNAVAILABLE

        async with asyncio.TaskGroup() as tasks:
            for name in dict.fromkeys(names):
                tasks.create_task(find(name))
        enrolment.enrolled = await self._record(tenant, found)
        return enrolment

    async def _find(self, tenant: str, name: str) -> "_Owner":
        if not NAME.fullmatch(name):
            raise MailboxBlockedError(NO_NAME)
        if OBJECT_ID.fullmatch(name.lower()):
            return _Owner(name.lower(), None)
        user = await self._graph.users.find(tenant, name)
        return _Owner(user.oid, user.addresses)

    async def _record(self, tenant: str, owners: Mapping[str, "_Owner"]) -> dict[str, Mailbox]:
        """Enrols the mailboxes of these owners; their names stay those of the result."""
        now = self._clock()
        keys = {name: MailboxKey(tenant, owner.oid) for name, owner in owners.items()}
        await self._store.audit.insert(
            [AuditEntry(now, ENROL, tenant, key.mailbox, self._actor) for key in keys.values()]
        )
        mailboxes = await self._store.mailboxes.enrol(
            {keys[name]: owner.addresses for name, owner in owners.items()}, now
        )
        return {name: mailboxes[key] for name, key in keys.items()}


@dataclass(frozen=True, slots=True)
class _Owner:
    """The owner of a mailbox; addresses are None where Graph was not needed to find the object id."""

    oid: str
    addresses: frozenset[str] | None
