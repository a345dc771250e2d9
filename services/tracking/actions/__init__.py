"""What a user changes: track, untrack, dismiss.

In: the user, a record, an item or a tracked activity. Out: the new state in the store, which the outbox
relay then publishes. Anything that the user may not know of raises the same `NotFoundError`.
"""
