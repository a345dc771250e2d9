"""Finds out that the database is older than the topics, or was lost, and recovers it from them.

In: the topics `mailboxes` and `activities`, the group's commits, the documents' versions. Out: documents as
the topics have them, and readings of all windows, which publish what changed meanwhile.

A document has its version before Kafka has the message. So a message that is newer than its document proves
that the database is an older copy. `marks.py` bounds what has to be compared, `comparison.py` compares,
`take_in.py` takes the topics in, `guard.py` decides when; `gate.py` is closed until the database may be used.

An older copy that is put beneath a running service is used until the guard looks, every 3 s, or until the
marks are put back, which may come last. What comes of it in that time is found and overruled:

- An item is published as Graph has it at that moment, under a greater version. One of a mailbox that was
  removed since is withdrawn with the mailbox's other items.
- A mailbox that was removed or paused since is captured, and a reading of its window publishes the earlier
  status under a greater version. Statuses are therefore ordered by `since`, which never goes back; the later
  one is published again, above that version.
- What the lost time has sent, and Kafka stores behind newer messages, is overruled (`late_messages.py`).
- A notification that was accepted with 202 may be dropped, as the copy does not know its subscription, or be
  recorded on a mailbox that the copy does not have. All windows are read after the recovery, which follows
  from the smaller marks alone. A batch whose mark cannot be advanced is not committed, and is handled again.
- A Track of a mailbox that the copy does not know fails as not enrolled; the user can select Track again.

Leases fence what was in progress: the copy does not have the lease, so its holder records nothing on the
mailbox. Not found is a restore that puts `marks` back first and other collections after the recovery: stop
the service before a restore (docs/operations.md).
"""
