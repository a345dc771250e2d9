"""The metrics of mail-ingest. Labels are reasons, kinds and codes; never ids, addresses or text."""

from prometheus_client import Counter, Gauge, Histogram

NOTIFICATIONS_ACCEPTED = Counter(
    "notifications_accepted_total", "Notifications that Kafka had before Graph was answered.", ["kind"]
)
NOTIFICATIONS_DROPPED = Counter(
    "notifications_dropped_total", "Notifications that were answered with 202 and dropped.", ["reason"]
)
WEBHOOKS_UNAVAILABLE = Counter(
    "notifications_unavailable_total", "Webhook requests that were answered with 503; Graph repeats them."
)
ACTIVITIES_PUBLISHED = Counter("activities_captured_total", "Activities published on Kafka.", ["kind"])
ACTIVITIES_WITHDRAWN = Counter("activities_gone_total", "Tombstones published on Kafka.", ["reason"])
ITEMS_REFUSED = Counter("items_refused_total", "Items that are not activities.", ["reason"])
ITEMS_SET_ASIDE = Counter(
    "items_set_aside_total", "Fetches of items that failed while Graph answered for the mailbox.", ["reason"]
)
ITEMS_HELD_BACK = Counter(
    "items_held_back_total",
    "Live items that were not found at once with half of their mailbox, and are fetched again.",
)
PAYLOAD_ODDITIES = Counter(
    "payload_oddities_total", "Parts of published items that were passed over, replaced or cut.", ["what"]
)
GRAPH_REQUESTS = Counter("graph_requests_total", "Requests that Graph answered.", ["what"])
GRAPH_ERRORS = Counter("graph_errors_total", "Error responses of Graph.", ["status", "code"])
GRAPH_THROTTLED = Counter("graph_throttled_total", "Responses of Graph with status 429.")
SUBSCRIPTIONS_REFUSED = Counter(
    "subscriptions_refused_total", "Refusals of subscriptions by Graph.", ["reason"]
)
TENANTS_BLOCKED = Counter("tenants_blocked_total", "Tenants that began to be refused.", ["reason"])
MISSED_BY_NOTIFICATIONS = Histogram(
    "missed_by_notifications",
    "Changes that a reconciliation found and no notification had named.",
    buckets=(0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
)
WINDOWS_FAILED = Counter(
    "windows_failed_total", "Readings of windows cut short while Graph answered for the mailbox."
)
CONTENT_ANSWERS = Counter("content_answers_total", "Answers to content requests.", ["outcome"])
FOLLOWED_ANSWERS = Counter(
    "followed_answers_total", "Changes of followed items that were published on content.", ["change"]
)
RECOVERING = Gauge(
    "store_recovering", "1 while the database is recovered from the topics, and Graph is answered with 503."
)
RECOVERIES = Counter(
    "store_recoveries_total", "Recoveries of a lost or older database, by what proved it.", ["sign"]
)
RECOVERED_DOCUMENTS = Counter(
    "store_recovered_documents_total", "Documents that recoveries took in from the topics.", ["collection"]
)
LATE_MESSAGES = Counter(
    "late_messages_total",
    "Messages that Kafka stored after newer ones of their keys; they are overruled.",
    ["topic"],
)
TOPICS_MADE_ANEW = Counter(
    "topics_made_anew_total", "Topics that were lost and created again, and are filled again.", ["topic"]
)
INSTANCE_TWINS = Counter(
    "instance_twins_total", "Processes that were refused because this one runs under the same INSTANCE."
)
LEASES_LOST = Counter(
    "leases_lost_total", "Mailbox syncs that ended because another worker may hold the mailbox."
)
