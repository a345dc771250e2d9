"""The metrics of tracking."""

from prometheus_client import Counter, Gauge, Histogram

SUGGESTIONS = Counter(
    "tracking_suggestions_total",
    "Messages on matches by outcome: written; stale (a greater one is stored); old_epoch.",
    ["outcome"],
)
RECORDS_IGNORED = Counter(
    "tracking_records_ignored_total",
    "Messages on records that a later one, or one of a lower partition, replaces.",
)
TRACK_REQUESTS = Counter(
    "tracking_track_requests_total",
    "Track requests by outcome: tracked; failed; overdue; dropped (content for a request that is not open); "
    "repeated (sent to mail-ingest again, which has not answered).",
    ["outcome"],
)
TRACK_SECONDS = Histogram(
    "tracking_track_seconds",
    "Time from Track until the tracked activity is stored.",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 600),
)
SOURCE_UPDATES = Counter(
    "tracking_source_updates_total",
    "Updates of followed items by outcome: changed, cancelled, gone; unseen (nothing that is shown differs, "
    "or it must not be shown); known (an earlier version); dropped (the item is not tracked any more).",
    ["outcome"],
)
PUBLISHED = Counter(
    "tracking_published_total", "Messages of the outbox that Kafka has acknowledged.", ["topic"]
)
EVENTS_CLOSED = Counter(
    "tracking_events_closed_total",
    "States of tracked activities that are too large to be published; nobody may read them there.",
)
REFUSED_TOKENS = Counter("tracking_refused_tokens_total", "Requests without a valid token.")
RECOVERIES = Counter(
    "tracking_recoveries_total",
    "Recoveries of the store by cause: lost; restored (an older copy); away (stopped for longer than "
    "tombstones are kept).",
    ["cause"],
)
RECOVERED_ACTIVITIES = Counter(
    "tracking_recovered_activities_total",
    "Tracked activities that a recovery found to differ from their topic, by outcome: tracked (some entries "
    "were untracked since the copy); untracked; lost (tracked since the copy).",
    ["outcome"],
)
LATE_STATES = Counter(
    "tracking_late_states_total",
    "States on tracked-activities that were delivered after a newer one, and overruled.",
)
RECOVERING = Gauge(
    "tracking_recovering", "1 while the store is not in use: the API answers 503 and nothing is published."
)
