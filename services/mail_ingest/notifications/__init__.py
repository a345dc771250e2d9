"""Graph's notifications, from the public interface to Kafka.

In: POST requests of Graph. Out: `graph-notifications`, keyed by the mailbox of our own subscription.
`webhook.py` answers Graph after Kafka has the messages; `subscription_cache.py` finds the subscriptions.
"""
