"""Tracking: what a salesperson sees on a record, privately, until she tracks it.

Reads `matches`, `records`, `mailboxes` and `content`; writes `content-requests` and
`tracked-activities`; answers the timeline API. Owns its MongoDB database.

Promises: a suggestion is returned to nobody but its owner; whatever a user may not see is the same
404; a message is done when MongoDB's majority has its effect, and reading starts from the position
stored there, never from Kafka's commit; what is to be said on Kafka is noted first, said, and only
then confirmed, so that a crash says it twice and never loses it.
"""
