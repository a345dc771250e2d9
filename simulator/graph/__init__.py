"""Microsoft Graph v1.0: users, mail and calendars (read-only), subscriptions, batches.

`api.Graph` checks permissions and limits, and calls the handler that `endpoints.ENDPOINTS` names.
`notifier.Notifier` delivers change notifications. Every response agrees with Graph's own schema.
"""
