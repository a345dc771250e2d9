"""The outbox of tracking.

In: track requests, tracked activities and mailboxes with followed items that the store holds as
`publish_pending`. Out: messages on `content-requests` and `tracked-activities`, and the store's
acknowledgement of what Kafka has.
"""
