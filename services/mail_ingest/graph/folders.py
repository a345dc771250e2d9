"""A mailbox's folder tree."""

from services.mail_ingest.domain.folders import WELL_KNOWN, Folders, folder_tree
from shared.keys import MailboxKey

from .client import GraphClient, quote_segment
from .errors import ItemNotFoundError

PAGE_SIZE = 250
LABEL = "folders"


class FolderCalls:
    """Reads folders. The errors are those of `GraphClient.request`."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client

    async def read_tree(self, mailbox: MailboxKey) -> Folders:
        """The folders under the mailbox's root, hidden ones included."""
        root_path = f"users/{quote_segment(mailbox.mailbox)}/mailFolders"
        well_known = await self._read_well_known(mailbox, root_path)
        options = {"$select": "id,childFolderCount", "$top": str(PAGE_SIZE), "includeHiddenFolders": "true"}
        parents: list[tuple[str, str | None]] = []
        to_read: list[str | None] = [None]
        while to_read:
            parent = to_read.pop()
            path = root_path if parent is None else f"{root_path}/{quote_segment(parent)}/childFolders"
            async for folder in self._client.pages(LABEL, mailbox, path, options):
                parents.append((str(folder["id"]), parent))
                if folder.get("childFolderCount"):
                    to_read.append(str(folder["id"]))
        return folder_tree(parents, well_known)

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
