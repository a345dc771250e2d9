"""Commands and helpers that run the whole system: the demo, the verification, the publisher of records.

`demo` starts the system and plays a story, or shows an archive (`own_archive`); `verify` compares the
results for an archive with an oracle; `chaos` judges what is published under faults. Scenarios use the
public interfaces only: Kafka topics, HTTP, commands.
"""
