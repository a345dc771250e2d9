"""matcher: mail x CRM -> matches.

* Reads: all of `records` (every replica, without a group), its partitions of `activities` (in a
  group), the same partitions of `matches` when it takes them over.
* Writes: `matches`. No database and no credentials; Kafka is its only memory.
* Promises: `matches` is the join of `activities` and `records` by the rule table; nothing is matched
  before all records are read; a record change says again what it changes and nothing else; whoever
  takes a partition over says only differences; what another wrote is answered within a minute.
"""
