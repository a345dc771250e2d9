"""What mail-ingest counts. Labels are reasons, kinds and codes; never who or what."""

from prometheus_client import Counter, Histogram

ACCEPTED = Counter(
    "notifications_accepted_total", "Notifications in Kafka before they were answered.", ["kind"]
)
DROPPED = Counter("notifications_dropped_total", "Notifications answered with 202 and dropped.", ["reason"])
UNAVAILABLE = Counter("notifications_unavailable_total", "Posts answered with 503, which Graph repeats.")
CAPTURED = Counter("activities_captured_total", "Activities said on Kafka.", ["kind"])
GONE = Counter("activities_gone_total", "Tombstones said on Kafka.", ["reason"])
REFUSED = Counter("items_refused_total", "Items that are no activity.", ["reason"])
FETCHES = Counter("graph_requests_total", "Requests that Graph answered.", ["what"])
GRAPH_ERRORS = Counter("graph_errors_total", "Answers of Graph that were errors.", ["status", "code"])
THROTTLED = Counter("graph_throttled_total", "Answers of Graph that asked to wait.")
MISSED = Histogram(
    "missed_by_hints",
    "What a reconciliation found that no hint had named.",
    buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
CONTENT = Counter("content_answers_total", "Answers to content requests.", ["outcome"])
LEASES_LOST = Counter("leases_lost_total", "Turns that ended because another had taken the mailbox.")
