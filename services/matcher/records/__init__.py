"""Reads the whole topic `records` into the directory, and goes on with its changes.

In: messages of `records`. Out: a `DirectoryChange` for each message that may change matches.
"""
