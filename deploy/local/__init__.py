"""The whole system on one machine without Docker: `python -m deploy.local up`.

`stack.py` runs a real Apache Kafka and a real MongoDB that are installed by pip alone, `system.py` runs our
own processes on them by the table in `programs.py`, `processes.py` starts, finds and stops background
processes. The demo, the verification and the tests use them as a library.

All data, logs, process ids and chosen ports are in one folder: `.local/`, or the one that `LOCAL_DIR` names.
"""
