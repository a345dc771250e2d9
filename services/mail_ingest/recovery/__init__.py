"""Finds out that the database is older than the topics, or was lost, and recovers it from them.

In: the topics `mailboxes` and `activities`, the group's commits, the documents' versions. Out: documents as
the topics have them, and readings of all windows, which publish what changed meanwhile.

A document has its version before Kafka has the message. So a message that is newer than its document proves
that the database is an older copy. `marks.py` bounds what has to be compared, `comparison.py` compares,
`take_in.py` takes the topics in, `guard.py` decides when; `gate.py` is closed until the database may be used.
"""
