"""A Microsoft Graph and a sign-in authority on the local machine, for tests, demos and verification.

Reads: mail archives (mbox, eml, ics) and the calls of its control interface.
Writes: HTTPS responses as Graph and Entra send them, and change notifications to webhooks.
Promises: msal works with it unchanged; every Graph response agrees with Graph's own schema; ids,
permissions, throttling and notifications behave as documented; faults occur only when injected.

`python -m simulator` starts it. `state.world.World` is its state, without input or output;
`app.create_app(world)` is its HTTP application; `control.client.Simulator` is a client of a running one.
"""
