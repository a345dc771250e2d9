"""A Microsoft Graph and a sign-in authority for the laptop: tests, demos, verification.

Reads: mail archives (mbox, eml, ics) and whatever its control API is told.
Writes: HTTPS answers as Graph and Entra give them, and change notifications to webhooks.
Promises: msal works against it unchanged; every Graph answer agrees with Graph's own schema;
ids, permissions, throttling and notifications behave as documented, faults only when asked for.

`python -m simulator` starts it. `World` is its state, without any input or output;
`create_app(world)` puts HTTP around it; `client.Simulator` talks to a running one.
"""
