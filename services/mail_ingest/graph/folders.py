"""A mailbox's folder tree."""

from collections.abc import Mapping

from services.mail_ingest.domain.folders import WELL_KNOWN, Folders, folder_tree
from shared.keys import MailboxKey

from .client import GraphClient, Lane, quote_segment
from .errors import FailureReason, GraphUnavailableError, ItemNotFoundError

PAGE_SIZE = 250
LABEL = "folders"


class FolderCalls:
    """Reads folders. The errors are those of `GraphClient.request`."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client

    async def read_tree(self, mailbox: MailboxKey, well_known: Mapping[str, str]) -> Folders:
        """The folders under the mailbox's root, hidden ones included.

        Args:
            mailbox: the mailbox.
            well_known: see `Folders`, as it was read before; when it is empty, it is read.

        Raises:
            GraphUnavailableError: there is none, which is true of no mailbox; and see `GraphClient.pages`.
        """
        root_path = f"users/{quote_segment(mailbox.mailbox)}/mailFolders"
        well_known = well_known or await self._read_well_known(mailbox, root_path)
        options = {"$select": "id,childFolderCount", "$top": str(PAGE_SIZE), "includeHiddenFolders": "true"}
        parents: dict[str, str | None] = {}
        to_read: list[str | None] = [None]
        while to_read:
            parent = to_read.pop()
            path = root_path if parent is None else f"{root_path}/{quote_segment(parent)}/childFolders"
            async for folder in self._client.pages(LABEL, mailbox, path, options):
                if folder["id"] in parents:
                    continue  # on two pages, or a tree that leads back to itself
                parents[folder["id"]] = parent
                if folder.get("childFolderCount"):
                    to_read.append(folder["id"])
        if not parents:
            raise GraphUnavailableError("a mailbox has no folder", reason=FailureReason.UNUSABLE_ANSWER)
        return folder_tree(parents.items(), well_known)

    async def check(self, mailbox: MailboxKey, lane: Lane = Lane.SYNC) -> None:
        """Sends a small request about the mailbox itself, and returns when Graph answers it."""
        path = f"users/{quote_segment(mailbox.mailbox)}/mailFolders"
        async for _ in self._client.pages(LABEL, mailbox, path, {"$select": "id", "$top": "1"}, lane=lane):
            return

    async def _read_well_known(self, mailbox: MailboxKey, root_path: str) -> dict[str, str]:
        ids: dict[str, str] = {}
        for name in WELL_KNOWN:
            try:
                folder = await self._client.request(
                    LABEL, mailbox, "GET", f"{root_path}/{name}", {"$select": "id"}
                )
            except ItemNotFoundError:
                continue  # a mailbox may lack one
            ids[name] = str(folder["id"])
        return ids
