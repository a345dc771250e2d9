"""Whether the store may be used: at a start, after its loss, and after its restore from an older copy.

In: read positions and revisions in the store; offsets, commits and ids of the topics; the topic
`tracked-activities`. Out: why the API answers 503 and the outbox rests, or None; what was untracked since the
copy is untracked in the store, and what was tracked since is published as lost and becomes a case for an
administrator.
"""
