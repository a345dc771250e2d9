"""The action *Show text*."""

from services.tracking.domain.visibility import User
from services.tracking.timeline.access import TimelineAccess
from shared.keys import RecordKey

from .previews import PreviewsClient, Text


class OwnTextReader:
    """Reads the texts of users' own suggestions.

    Args:
        access: checks that the item is the user's own suggestion on the record.
        previews: where the texts come from.
    """

    def __init__(self, access: TimelineAccess, previews: PreviewsClient) -> None:
        self._access = access
        self._previews = previews

    async def read(self, user: User, record: RecordKey, item: str) -> Text:
        """The text of a user's own item.

        Raises:
            NotFoundError, ConflictError: see `TimelineAccess.find_own_suggestion`.
            TextUnavailableError, RetryableError: see `PreviewsClient.fetch_text`.
        """
        suggestion = await self._access.find_own_suggestion(user, record, item)
        return await self._previews.fetch_text(suggestion.activity)
