"""The HTTP interface: the timeline API under `/api/v1`, the streams of changes, and the page.

In: requests of signed-in users; the token is checked before a body is read. Out: JSON, server-sent
events, the page's files, and errors as problem details. Anything that a user may not know of is the
same 404.
"""
