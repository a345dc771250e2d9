"""Restores assigned partitions from Kafka, and detects what other replicas write into them.

In: the tables `activities` and `matches` of the assigned partitions. Out: a `RestoredPartition` for each,
and the differences published on `matches`.
"""
