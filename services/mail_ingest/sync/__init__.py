"""The synchronisation of mailboxes: workers, leases, and the jobs of one mailbox.

In: mailboxes with work (MongoDB), items, windows and subscriptions of Graph. Out: recorded items and
states, which `publishing` sends to Kafka. `workers.py` acquires the lease of a mailbox and runs a
`MailboxSync`, which does the jobs of the other modules in passes, one job after another.
"""
