"""The control interface: tests, scenarios and people cause what happens in the simulated cloud.

`api` is the HTTP interface below /control, with the actions of `world_actions`, `tenant_actions`,
`fault_actions` and `item_actions`; `client` its client, and `page` a form for browsers.
"""
