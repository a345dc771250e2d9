"""How long a dismissal lasts, on the real MongoDB."""

from services.tracking.domain.timeline import Suggestion
from services.tracking.store import suggestion_document
from shared.topics import MATCHES

from .conftest import World, received
from .worlds import ANN, DAY, NOW, RENEWAL, email, matched


async def test_a_dismissal_lasts_30_days_after_its_item_was_last_seen(world: World) -> None:
    dismissed = email()
    await world.store.dismissals.put(Suggestion(dismissed), RENEWAL)
    seen_later = email(at=NOW + 2 * DAY)
    value = matched(seen_later, RENEWAL)
    key = ANN.tenant, ANN.oid, seen_later.item

    for activity_seen in (value, matched(dismissed, RENEWAL)):
        await world.store.dismissals.seen([suggestion_document(received(MATCHES, key, activity_seen), NOW)])

    [left] = [found async for found in world.store.collection("dismissals").find({})]
    assert left["delete_at"] == seen_later.visible_until + 30 * DAY
