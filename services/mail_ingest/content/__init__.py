"""Bodies of items: fetched on request, and stored nowhere.

In: content requests of a mailbox; requests of the internal port. Out: answers on `content`
(`responder.py`); the text for one HTTP response (`previews.py`).
"""
