"""Microsoft Graph and its sign-in authority.

In: tenant, mailbox, item, times. Out: payloads, folder trees, subscriptions; or an error of `errors.py`.
`client.py` is the HTTP client (tokens, retries, rate limit, pages, errors); the other modules are the
calls, which `graph.py` combines. Only `client.py` imports httpx2, only `tokens.py` imports msal.
"""
