"""matcher: joins activities with CRM records, and publishes the matches.

* Reads: all of `records` (every replica, without a group), its partitions of `activities` (in a group),
  and at a restore the same partitions of `matches`.
* Writes: `matches`. It has no database and no credentials; Kafka is its only store.
* Guarantees: `matches` is the join of `activities` and `records` by the rule table. Nothing is matched
  before all records are read. A record change republishes only the activities whose matches differ. A
  restored partition publishes only differences. Foreign writes are overruled within a minute.
"""
