"""What mail-ingest decides: what an item becomes, what two readings of a window mean, what to subscribe.

The standard library and `shared` only; nothing here asks for the time.
"""
