"""The state of the simulated cloud: tenants, users, mailboxes, subscriptions, faults. No input or output.

`World` holds all of it. Every module that changes an item does so through `mail_delivery` or `meetings`,
which also create the change notifications.
"""
