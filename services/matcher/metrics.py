"""What the matcher counts. Labels are partitions; never who or what."""

from prometheus_client import Counter, Gauge

SENT = Counter("matches_sent_total", "Activities said on `matches` with their records.")
WITHDRAWN = Counter(
    "matches_withdrawn_total",
    "Tombstones said on `matches`: no record left, or the activity is gone or over.",
)
TRUNCATED = Counter("matches_truncated_total", "Activities said with fewer records than relate to them.")
TOUCHED = Counter("touched_activities_total", "Live activities that record changes touched.")
TAKEOVERS = Counter("takeovers_total", "Partitions read and taken over.")
KEPT = Counter(
    "takeovers_spared_total", "Partitions kept through a rebalance, because nobody else had written."
)
FOREIGN = Counter(
    "foreign_matches_answered_total",
    "Messages that another wrote into a partition of ours, answered with our own word.",
)
REFUSED = Counter("records_refused_total", "Messages on `records` that are no record: there is none then.")
VERSIONS_DOWN = Gauge(
    "record_versions_down",
    "Records that came with a lower version than before since the start; they count all the same.",
)
DUPLICATE_KEYS = Gauge(
    "record_duplicate_keys", "Keys found in more than one partition of `records`; the lowest counts."
)
RECORDS = Gauge("directory_records", "Records in the directory.")
WALKS = Gauge(
    "directory_walks",
    "Addresses walked back to their records since the start, for want of a ready-made answer.",
)
LIVE = Gauge("live_activities", "Activities in the windows of this replica's partitions.")
UNSAID = Gauge("unsaid_activities", "Activities whose matches wait for being compared and said.")
EPOCH = Gauge("partition_epoch", "The epoch of each partition of this replica.", ["partition"])
