"""The internal port shows the texts of captured items only."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.mail_ingest.content.previews import Previews, PreviewUnavailableError
from services.mail_ingest.domain.items import CapturedItem
from services.mail_ingest.store.documents import Mailbox
from shared.events import ActivityKind, MailboxStatus
from shared.keys import MailboxKey
from tests.mail_ingest.graphs import ANN, NOW


def captured(**changes: Any) -> CapturedItem:
    return CapturedItem(
        "i", **{"kind": ActivityKind.EMAIL, "change_key": "k", "digest": "d", **changes}, version=1
    )


class StubMailboxes:
    """The store's mailboxes: every one is enrolled."""

    async def find(self, key: MailboxKey) -> Mailbox:
        return Mailbox(key.tenant, key.mailbox, MailboxStatus.ENROLLED, NOW)


class StubItems:
    """The store's items, and their texts, which must not be read."""

    def __init__(self, stored: CapturedItem | None) -> None:
        self._stored = stored

    async def find(self, *_: Any) -> dict[str, CapturedItem]:
        return {"i": self._stored} if self._stored else {}

    async def fetch(self, *_: Any) -> Any:
        raise AssertionError("the text of an item that is not captured is read")


@pytest.mark.parametrize(
    "stored",
    [None, captured(gone=NOW), captured(kind=ActivityKind.MEETING)],
    ids=["unknown", "gone", "meeting"],
)
async def test_text_of_an_item_that_is_not_captured_is_not_read(stored: CapturedItem | None) -> None:
    items = StubItems(stored)
    store = SimpleNamespace(mailboxes=StubMailboxes(), items=items)

    with pytest.raises(PreviewUnavailableError, match="gone"):
        await Previews(cast("Any", store), cast("Any", items)).fetch(ANN, ActivityKind.EMAIL, "i")
