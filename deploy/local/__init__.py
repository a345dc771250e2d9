"""The whole system on one machine without Docker: `python -m deploy.local up`.

`stack.py` runs a real Apache Kafka and a real MongoDB that come from pip alone, `system.py` runs
our own processes on them, `processes.py` knows how a process in the background is started,
recognised and stopped. All three serve as a library to the demo, the verification and the tests.

Everything they write (data, logs, process ids, chosen ports) is in one folder: `.local/`, or
where `LOCAL_DIR` points.
"""
