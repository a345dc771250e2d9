"""The transactional outbox: what MongoDB has recorded is published on Kafka and acknowledged in MongoDB.

In: observed items, states of a mailbox. Out: `activities`, `mailboxes`. `outbox.py` publishes and
acknowledges; `activities.py` and `mailbox_state.py` record what it publishes.
"""
