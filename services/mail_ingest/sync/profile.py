"""The owner's addresses and the folder tree, which the capture of a mailbox uses."""

from dataclasses import replace

from services.mail_ingest.graph.graph import Graph
from services.mail_ingest.store.documents import Mailbox
from services.mail_ingest.store.held_mailbox import HeldMailbox


class MailboxProfile:
    """Reads the profile of one mailbox from Graph, and stores it; the errors are those of both."""

    def __init__(self, graph: Graph, held: HeldMailbox) -> None:
        self._graph = graph
        self._held = held

    async def complete(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with both parts; only those that are unknown are read."""
        if mailbox.addresses is None:
            mailbox = await self._read_addresses(mailbox)
        return mailbox if mailbox.folders is not None else await self.read_folders(mailbox)

    async def refresh(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with both parts, read again."""
        return await self.read_folders(await self._read_addresses(mailbox))

    async def read_folders(self, mailbox: Mailbox) -> Mailbox:
        """The mailbox with its folder tree, read again."""
        folders = await self._graph.folders.read_tree(mailbox.key)
        await self._held.set_fields(folders=folders)
        return replace(mailbox, folders=folders)

    async def _read_addresses(self, mailbox: Mailbox) -> Mailbox:
        user = await self._graph.users.find(mailbox.tenant, mailbox.mailbox)
        await self._held.set_fields(addresses=user.addresses)
        return replace(mailbox, addresses=user.addresses)
