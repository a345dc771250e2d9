"""The contract: what services exchange (events, topics, records) and what they run under.

Knows no service and holds no business rule.
"""
