"""The control interface: tests, scenarios and people cause what happens in the simulated cloud.

`api` is the HTTP interface below /control, `client` its client, and `page` a form for browsers.
"""
