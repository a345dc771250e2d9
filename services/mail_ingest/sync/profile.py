"""The owner's addresses and the folder tree, which the capture of a mailbox uses."""

from dataclasses import replace
from datetime import datetime

from services.mail_ingest.domain.folders import Folders
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

    def __init__(self, graph: Graph, held: HeldMailbox, clock: Clock, settings: IngestSettings) -> None:
        self._graph = graph
        self._held = held
        self._clock = clock
        self._reconcile_every = settings.reconcile_every

    async def complete(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with both parts; only those that are unknown are read."""
        if mailbox.addresses is None:
            mailbox = await self._read_addresses(mailbox)
        return mailbox if mailbox.folders is not None else await self.read_folders(mailbox)

    async def refresh(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with both parts; those that were read long ago are read again."""
        if self._is_old(mailbox.addresses_read_at, READINGS_PER_ADDRESSES):
            mailbox = await self._read_addresses(mailbox)
            mailbox = replace(mailbox, folders=None)  # the ids of the well-known folders are as old
        if mailbox.folders is None or self._is_old(mailbox.folders_read_at, READINGS_PER_FOLDER_TREE):
            mailbox = await self.read_folders(mailbox)
        return mailbox

    async def read_folders(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with its folder tree, read again."""
        now, seen = self._clock(), mailbox.folders_read_at
        known = mailbox.folders or Folders()
        folders = await self._graph.folders.read_tree(mailbox.key, known.well_known)
        await self._held.set_profile("folders", folders, seen, now)
        return replace(mailbox, folders=folders, folders_read_at=now)

    async def _read_addresses(self, mailbox: Mailbox) -> Mailbox:
        now, seen = self._clock(), mailbox.addresses_read_at
        user = await self._graph.users.find(mailbox.tenant, mailbox.mailbox)
        await self._held.set_profile("addresses", user.addresses, seen, now)
        return replace(mailbox, addresses=user.addresses, addresses_read_at=now)

    def _is_old(self, read_at: datetime | None, readings: int) -> bool:
        return read_at is None or read_at + self._reconcile_every * readings <= self._clock()
