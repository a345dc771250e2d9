"""mail-ingest: Outlook -> Kafka.

The only service that holds Graph credentials.

* Reads: Graph's notifications (webhook), `graph-notifications`, `content-requests`, and Graph.
* Writes: `graph-notifications`, `mailboxes`, `activities`, `content`; its own MongoDB database.
* Promises: a notification answered with 202 is in Kafka; one holder of a mailbox's lease at a time
  notes and says anything about it; what it says is noted first and confirmed after; nothing but
  ids, change keys, versions and times of an item is kept.
"""
