"""mail-ingest: Outlook -> Kafka. The only service that holds Graph credentials.

* Reads: Graph's notifications (webhook), `graph-notifications`, `content-requests`, and Graph.
* Writes: `graph-notifications`, `mailboxes`, `activities`, `content`; its own MongoDB database.
* Promises: a notification that is answered with 202 is in Kafka. Only the holder of a mailbox's lease
  records and publishes changes of it. A state is recorded before it is published, and acknowledged after.
  Only ids, change keys, versions and times of an item are stored.
"""
