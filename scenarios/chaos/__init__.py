"""Seeded runs under faults, judged by the history of what there was: `make chaos`.

The package `whole` runs all services; what it needs of the history of mailboxes is here, beside the section
`capture`. The package `cluster` runs them on several brokers and mongods.

`capture` changes mailboxes of the simulator while notifications are lost, Graph fails in every way that it
has, and mail-ingest is killed; `judge` compares the whole log of `activities` with the simulator's history.
The expected activities come from `normaliser`, which shares no code with mail-ingest: of `shared`, only the
parsing of messages is used.
"""
