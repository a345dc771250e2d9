"""The metrics of the matcher. Labels are partition numbers, never tenants, users or records."""

from prometheus_client import Counter, Gauge

MATCHES_PUBLISHED = Counter(
    "matches_published_total", "Activities published on `matches` with their records."
)
MATCHES_WITHDRAWN = Counter(
    "matches_withdrawn_total",
    "Tombstones published on `matches`: no record is left, or the activity is gone or expired.",
)
MATCHES_TRUNCATED = Counter(
    "matches_truncated_total", "Activities published with fewer records than relate to them."
)
ACTIVITIES_AFFECTED = Counter(
    "activities_affected_total", "Live activities that record changes marked as pending."
)
MATCHES_PENDING = Gauge(
    "matches_pending", "Activities whose matches wait to be computed, compared and published."
)
LIVE_ACTIVITIES = Gauge("live_activities", "Live activities in this replica's partitions.")

PARTITIONS_RESTORED = Counter("partitions_restored_total", "Partitions whose tables were read at a restore.")
PARTITION_RESTORES_SKIPPED = Counter(
    "partition_restores_skipped_total",
    "Partitions kept through a rebalance, because nobody else had written to them.",
)
FOREIGN_WRITES = Counter(
    "foreign_writes_total",
    "Keys that another matcher wrote in a partition of this replica; each is overruled.",
)
PARTITION_EPOCH = Gauge("partition_epoch", "The epoch of each partition of this replica.", ["partition"])

DIRECTORY_RECORDS = Gauge("directory_records", "Records in the directory.")
DIRECTORY_BACKWARD_READS = Gauge(
    "directory_backward_reads", "Address lookups since the start that the cache could not answer."
)
INVALID_RECORDS = Counter(
    "invalid_records_total", "Messages on `records` that are not valid; there is no such record then."
)
RECORD_VERSION_DECREASES = Gauge(
    "record_version_decreases",
    "Records since the start that came with a lower version than before; they count all the same.",
)
RECORD_DUPLICATE_KEYS = Gauge(
    "record_duplicate_keys", "Keys found in more than one partition of `records`; the lowest counts."
)
