"""Reads `tracked-activities`, which this service alone writes, and compares it with the store.

A state that was delivered after a newer one, because its send passed its deadline, is overruled by a greater
revision. A state that is newer than the stored one proves that the store is an older copy.
"""

from services.tracking.metrics import LATE_STATES
from services.tracking.publishing.relay import OutboxRelay
from services.tracking.read_positions import ReadPositions, partition_of
from services.tracking.store import NewerState, Store, StoredRevisions
from shared.broker import Batch
from shared.clock import Clock, to_micros
from shared.events import ActivityTracked, ActivityUntracked
from shared.keys import TrackedActivityKey
from shared.messages import TombstoneMessage, ValidMessage

Message = ValidMessage[TrackedActivityKey, ActivityTracked | ActivityUntracked]


class TrackedTopicReader:
    """The handler of the service's own topic.

    Args:
        store: the database.
        relay: publishes what overrules.
        positions: of the consumer.
        clock: the server's clock.
    """

    def __init__(self, store: Store, relay: OutboxRelay, positions: ReadPositions, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock
        self.positions = positions

    async def on_batch(self, batch: Batch[TrackedActivityKey, ActivityTracked | ActivityUntracked]) -> None:
        """Compares the last state of each activity with the stored one."""
        last = {message.key: message for message in batch.valid}
        stored = await self._store.topic_states.find_revisions(last)
        read: dict[TrackedActivityKey, StoredRevisions] = {}
        for message in batch.valid:
            read[message.key] = self._with(message, read.get(message.key) or stored.get(message.key))
        late = {
            key: read[key]
            for key, message in last.items()
            if key in stored and message.version < read[key].on_topic
        }
        newer = [_to_state(message) for key, message in last.items() if _is_newer(message, stored.get(key))]
        await self._store.topic_states.put_newer(newer)
        await self._store.topic_states.delete_newer(last.keys() - {state.key for state in newer})
        await self._store.topic_states.record_read({key: read[key] for key in stored})
        if late:
            await self._store.topic_states.overrule(late, to_micros(self._clock()))
            LATE_STATES.inc(len(late))
            self._relay.wake()
        await self.positions.advance(batch)

    def _with(self, message: Message, before: StoredRevisions | None) -> StoredRevisions:
        """What is known of an activity after one more message."""
        generation = self.positions.generation(partition_of(message))
        on_topic = before.on_topic if before and before.generation == generation else 0
        revision = before.revision if before else 0
        return StoredRevisions(revision, max(on_topic, message.version), generation)


def _is_newer(message: Message, stored: StoredRevisions | None) -> bool:
    """Whether the store should have more than it has."""
    if stored is None:
        event = None if isinstance(message, TombstoneMessage) else message.value
        return isinstance(event, ActivityTracked) or (isinstance(event, ActivityUntracked) and event.lost)
    return message.version > stored.revision


def _to_state(message: Message) -> NewerState:
    event = None if isinstance(message, TombstoneMessage) else message.value
    return NewerState(message.key, message.version, event)
