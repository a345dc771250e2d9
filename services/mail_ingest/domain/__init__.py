"""The decisions of mail-ingest, without I/O.

In: Graph's JSON, the state of items and subscriptions as MongoDB has it, the present time. Out: what an
item becomes, what happens to it, which subscriptions a mailbox needs, when a failed sync is retried.
`kinds.py` holds the one table of e-mails and meetings. Modules here import the standard library and
`shared` only, and get the time passed in.
"""
