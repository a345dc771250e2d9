"""The owner's addresses and the folder tree, which the capture of a mailbox uses."""

from dataclasses import replace
from datetime import datetime

from services.mail_ingest.domain.folders import Folders
from services.mail_ingest.domain.kinds import KindTable, folder_kinds
from services.mail_ingest.domain.refused_kinds import waiting_kinds
from services.mail_ingest.graph.errors import MailboxBlockedError
from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.settings import IngestSettings
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox
from shared.clock import Clock

READINGS_PER_FOLDER_TREE = 6
READINGS_PER_ADDRESSES = 144
"""With so many readings of the window each part is read once: both hardly ever change."""


class MailboxProfile:
    """Reads the profile of one mailbox from Graph, and stores it; the errors are those of both."""

    def __init__(
        self, graph: Graph, held: HeldMailbox, clock: Clock, settings: IngestSettings, kinds: KindTable
    ) -> None:
        self._folder_kinds = folder_kinds(kinds)
        self._graph = graph
        self._held = held
        self._clock = clock
        self._reconcile_every = settings.reconcile_every
        self._latest: Mailbox | None = None

    async def complete(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with both parts; only those that are unknown are read.

        Without folders where Graph refuses them, and answers for a kind that has none.
        """
        if mailbox.addresses is None:
            mailbox = await self._read_addresses(mailbox)
        refused = waiting_kinds(mailbox.refused_kinds, self._clock())
        if mailbox.folders is not None or refused & self._folder_kinds:
            return mailbox
        try:
            return await self.read_folders(mailbox)
        except MailboxBlockedError as error:
            failure = await self._graph.find_mailbox_failure(mailbox.key, [error])
            if failure is not None:
                raise failure from error
            return mailbox

    async def refresh_addresses(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with its owner's addresses, read again if they are old."""
        if self._is_old(mailbox.addresses_read_at, READINGS_PER_ADDRESSES):
            mailbox = await self._read_addresses(mailbox)
            mailbox = replace(mailbox, folders=None)  # the ids of the well-known folders are as old
        return mailbox

    async def refresh_folders(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with its folder tree, read again if it is old."""
        if mailbox.folders is None or self._is_old(mailbox.folders_read_at, READINGS_PER_FOLDER_TREE):
            mailbox = await self.read_folders(mailbox)
        return mailbox

    async def read_folders(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with its folder tree, read again."""
        now, seen = self._clock(), mailbox.folders_read_at
        known = mailbox.folders or Folders()
        folders = await self._graph.folders.read_tree(mailbox.key, known.well_known)
        await self._held.set_profile("folders", folders, seen, now)
        self._latest = replace(mailbox, folders=folders, folders_read_at=now)
        return self._latest

    def with_latest_folders(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with the folder tree that this sync has read last, if it has read one."""
        if self._latest is None:
            return mailbox
        return replace(mailbox, folders=self._latest.folders, folders_read_at=self._latest.folders_read_at)

    async def _read_addresses(self, mailbox: Mailbox) -> Mailbox:
        now, seen = self._clock(), mailbox.addresses_read_at
        user = await self._graph.users.find(mailbox.tenant, mailbox.mailbox)
        await self._held.set_profile("addresses", user.addresses, seen, now)
        return replace(mailbox, addresses=user.addresses, addresses_read_at=now)

    def _is_old(self, read_at: datetime | None, readings: int) -> bool:
        return read_at is None or read_at + self._reconcile_every * readings <= self._clock()
