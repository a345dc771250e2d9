"""The contract: what the services exchange (events, topics, records) and what they run under.

`shared` imports no service and holds no business rule.
"""
