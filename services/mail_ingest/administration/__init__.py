"""The administration of mailboxes, and the internal port.

In: requests of administrators and of tracking. Out: recorded states of mailboxes with audit records;
previews. `mailboxes.py` serves the command line and the API alike.
"""
