"""What tracking counts."""

from prometheus_client import Counter, Histogram

SUGGESTIONS = Counter(
    "tracking_suggestions_total",
    "Messages on matches, by what they did: written, stale (a greater one was there), old_epoch.",
    ["outcome"],
)
RECORDS_IGNORED = Counter(
    "tracking_records_ignored_total",
    "Record messages ignored because a later one, or a lower partition's, was there.",
)
CLAIMS = Counter(
    "tracking_claims_total",
    "Claims by how they ended: tracked, failed, late; dropped: an answer to one that was not open.",
    ["outcome"],
)
TRACKED_AFTER = Histogram(
    "tracking_tracked_after_seconds",
    "From Track to tracked, as stored.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 600),
)
SAID = Counter("tracking_said_total", "Notes said on Kafka and confirmed.", ["topic"])
REFUSED_TOKENS = Counter("tracking_refused_tokens_total", "Requests without a token that is taken.")
