"""Reads timelines for a user; changes nothing.

In: the user and a record. Out: what the user may see: timelines, tracked activities, lists of records.
Anything that the user may not know of raises the same `NotFoundError`.
"""
