"""Owns this replica's partitions, and publishes their matches on `matches`.

In: pending activities of the owned partitions. Out: match updates with (epoch, sequence).
"""
