"""Tracking: the private suggestions that a user sees on a record, and the activities that users track.

Reads `matches`, `records`, `mailboxes` and `content`; writes `content-requests` and
`tracked-activities`; serves the timeline API and the page. Owns its MongoDB database.

Promises: a suggestion is returned to its owner alone; anything that a user may not see is the same 404;
a message is done when MongoDB's majority has its effect, and reading starts from the position that is
stored there, never from Kafka's commit; what is to be published is recorded first (`publishing/`), then
published, and acknowledged last, so that a crash publishes it twice and never loses it.
"""
