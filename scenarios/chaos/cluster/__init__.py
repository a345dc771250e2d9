"""Faults of the servers below the whole system: `make chaos ONLY=cluster`.

Two replicas of each service run on three brokers and a MongoDB replica set of three, under a steady load:
mails, record changes, Tracks and untracks (`load`). `faults` is the table of what happens to the servers, and
in the same second to a service. `operations` measures from the load itself when everything works again,
`guard` whether a record that was closed to a reader stays closed, and `judge` compares what is on the topics
and in the databases at the end with what was done. `run` puts them together.

Everything expected is known by construction or from a join that shares no code with the services.
"""
