"""The commands that run Kafka's classes with the Java and the jars of `parts`."""

import base64
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from deploy.local.parts import java, kafka_class_cache, kafka_jars
from deploy.local.processes import Command, LocalError, Progress

# One broker for a laptop: 512 MB of heap are enough, and a JVM that compiles less starts in half the time.
JVM = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
# Only warnings are logged, and the line that marks the end of the start (`KAFKA_SERVES`).
JVM += [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
]
KAFKA_SERVES = "Kafka Server started"
"""Stands in the log of a node that has started."""


def kafka_java(options: Sequence[str], progress: Progress) -> Command:
    """Return the command that runs a class of Kafka; its name and arguments follow."""
    # Java ignores a cache that does not fit it or these jars.
    cached = [f"-XX:AOTCache={cache}"] if (cache := kafka_class_cache()).exists() else []
    return [java(), *options, *cached, "-cp", os.pathsep.join(map(str, kafka_jars(progress)))]


def new_cluster_id() -> str:
    """Return an id for `format_kafka`; all nodes of a cluster have the same."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def format_kafka(settings: Path, cluster_id: str, progress: Progress, *options: str) -> None:
    """Prepare the empty data folder that the properties name, as every Kafka node needs it.

    Raises:
        LocalError: the tool failed; the message has its output.
    """
    tool: Command = [*kafka_java(JVM, progress), "kafka.tools.StorageTool", "format"]
    command = [*tool, f"--cluster-id={cluster_id}", "-c", settings, *options]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise LocalError(f"formatting Kafka's storage failed:\n{ran.stdout}{ran.stderr}")
