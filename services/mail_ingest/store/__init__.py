"""The MongoDB database of mail-ingest: a file for each collection, and for each job about the mailboxes.

`documents.py` declares the fields of all documents, once. `pipelines.py` holds the updates that compute
the new state of a document from its present one. `database.py` combines the collections to a `Store`;
`held_mailbox.py` is what the holder of a mailbox's lease may change. Only this package imports
`shared.mongodb`; `shared/mongodb_errors.py` has the errors of all methods.
"""
