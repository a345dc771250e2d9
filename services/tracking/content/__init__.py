"""The text of an owner's own item, before it is tracked.

In: the user, a record, an item. Out: the text, from mail-ingest's internal port; it is stored and logged
nowhere.
"""
