"""Nodes with addresses of their own: a bridge, and one network namespace for each node.

Addresses of the loopback interface cannot be cut off from each other: the source of all is 127.0.0.1.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from deploy.local.processes import Command, LocalError

PREFIX = "auto-capture-"
"""Of the names of all namespaces."""
MOST_NETWORKS = 40
LOCKS = Path("/run/lock")


def missing_requirement(path: str | None = None) -> str | None:
    """Return in one sentence what a network of nodes lacks here; None if it lacks nothing.

    Args:
        path: where commands are looked for; default: `PATH`.
    """
    if sys.platform != "linux":
        return f"a cluster of several nodes needs Linux's network namespaces, and this is {sys.platform}"
    if missing := [name for name in ("ip", "iptables") if not shutil.which(name, path=path)]:
        names = " and ".join(missing)
        return f"a cluster of several nodes needs {names}: apt-get install iproute2 iptables"
    if os.geteuid() != 0:
        return "a cluster of several nodes needs root for its network namespaces"
    return None


class Network:
    """Namespaces that a bridge connects with each other and with this machine.

    A lock of the machine gives each network a number, and so names and addresses that no other one has. The
    kernel releases the lock of a network whose process has died; the next network with the number removes
    what that process left.
    """

    def __init__(self) -> None:
        self._number = 0
        self._lock: IO[str] | None = None
        self._addresses: dict[str, str] = {}

    @property
    def addresses(self) -> Mapping[str, str]:
        """Node -> its IPv4 address; empty unless started."""
        return self._addresses

    def start(self, names: Sequence[str]) -> None:
        """Create the bridge and a namespace for each name.

        Raises:
            LocalError: a command or the right to create a network is missing.
        """
        if missing := missing_requirement():
            raise LocalError(f"{missing[0].upper()}{missing[1:]}.")
        self._number, self._lock = _acquire_number()
        self._remove()
        try:
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            # 198.18.0.0/15 is reserved for tests of network devices (RFC 2544): no real network has it.
            _run("ip", "addr", "add", f"198.18.{self._number}.254/24", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            for host, name in enumerate(names, 1):
                self._add(name, host)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove the namespaces and the bridge; the processes in them are killed."""
        if self._lock is not None:
            self._remove()
            self._lock.close()
            self._lock = None
            self._addresses.clear()

    def command(self, name: str) -> Command:
        """Return the beginning of a command that runs in the node's namespace."""
        return ["ip", "netns", "exec", self._namespace(name)]

    def cut_off(self, name: str, peers: Iterable[str]) -> None:
        """Drop all packets between a node and these peers; everything else still passes."""
        for peer in peers:
            address = self._addresses[peer]
            _run(*self.command(name), "iptables", "-A", "INPUT", "-s", address, "-j", "DROP")
            _run(*self.command(name), "iptables", "-A", "OUTPUT", "-d", address, "-j", "DROP")

    def heal(self, name: str) -> None:
        """Let all packets of a node pass again."""
        _run(*self.command(name), "iptables", "-F")

    @property
    def namespaces(self) -> list[str]:
        """The namespaces of this network that exist now."""
        names = [line.split()[0] for line in _run("ip", "netns", "list").splitlines()]
        return [name for name in names if name.startswith(self._namespace(""))]

    @property
    def links(self) -> list[str]:
        """The bridge and the outer ends of this network that exist now."""
        lines = _run("ip", "-o", "link", "show").splitlines()
        names = [line.split()[1].rstrip(":").partition("@")[0] for line in lines]
        return [name for name in names if name == self._bridge or name.startswith(f"{self._bridge}-")]

    @property
    def _bridge(self) -> str:
        return f"capture{self._number}"

    def _namespace(self, name: str) -> str:
        return f"{PREFIX}{self._number}-{name}"

    def _add(self, name: str, host: int) -> None:
        namespace, address = self._namespace(name), f"198.18.{self._number}.{host}"
        outer = f"{self._bridge}-{host}"  # at most 15 characters
        _run("ip", "netns", "add", namespace)
        _run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _run("ip", "link", "set", outer, "master", self._bridge, "up")
        _run(*self.command(name), "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        _run(*self.command(name), "ip", "link", "set", "eth0", "up")
        _run(*self.command(name), "ip", "link", "set", "lo", "up")
        self._addresses[name] = address

    def _remove(self) -> None:
        """Remove all that has this number, also what a killed process left."""
        for namespace in self.namespaces:
            for pid in _run("ip", "netns", "pids", namespace).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _run("ip", "netns", "delete", namespace)
        for link in self.links:
            # The outer end of a veth pair ends with its namespace, a moment later.
            with suppress(LocalError):
                _run("ip", "link", "delete", link)


def _acquire_number() -> tuple[int, IO[str]]:
    for number in range(1, MOST_NETWORKS + 1):
        lock = (LOCKS / f"{PREFIX}network-{number}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return number, lock
        except BlockingIOError:
            lock.close()
    raise LocalError(f"{MOST_NETWORKS} clusters run on this machine; stop one of them.")


def _run(*command: str | Path) -> str:
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise LocalError(f"{' '.join(map(str, command))} failed: {ran.stdout}{ran.stderr}")
    return ran.stdout
