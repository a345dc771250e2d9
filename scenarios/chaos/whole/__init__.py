"""The whole system under faults: three services with two replicas each, one Kafka, one MongoDB.

`run` makes mail, record changes, Tracks and reads flow (`load`, `users`) while processes and stores are
killed, paused and restored (`faults`), and keeps all that was done and published (`history`, `published`).
The judges compare it: `judge_matches` by a brute-force join (`join`) that shares no code with the matcher,
`judge_tracks` and `judge_answers` by the history of the calls.
"""
