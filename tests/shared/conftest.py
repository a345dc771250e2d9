"""Topics on the real Kafka for each test, and connections to them that end with it."""

import hypothesis

hypothesis.settings.register_profile("patient", deadline=None)  # on a busy machine a single example may take long
hypothesis.settings.load_profile("patient")
