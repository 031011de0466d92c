"""Machines of their own network: a namespace of Linux for each, joined by a bridge in another one.

Nothing of the real machine's network is changed. Where namespaces are not allowed, all machines are loopback, and a cut
is not possible. Not here: what runs on a machine (`services`).
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

_NEW_NETWORK: Final = 0x40000000
"""CLONE_NEWNET, of sched.h."""
_NET: Final = "10.111.0"
"""Only the namespaces have addresses of it."""


@dataclass(frozen=True)
class Machine:
    """A machine: its name, its first address, and what starts something in its network."""

    name: str
    address: str
    executor: ThreadPoolExecutor
    namespace: str | None = None
    switch: str | None = None
    port: str | None = None

    def do(self, action: Callable[[], T]) -> T:
        """Do something in the machine's network: what opens sockets or starts processes."""
        return self.executor.submit(action).result()

    def connect(self, *, on: bool) -> None:
        """Plug the machine's network cable in or out."""
        assert self.switch is not None
        assert self.port is not None
        _ip("-n", self.switch, "link", "set", self.port, "up" if on else "down")


def why_no_namespaces() -> str | None:
    """Say why machines cannot have networks of their own here; None where they can."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if shutil.which("ip") is None:
        return "the command `ip` is not installed: `apt-get install iproute2` on Debian"
    name = f"pcp{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode == 0:
        joined = subprocess.run(
            ["ip", "-n", name, "link", "add", "try", "type", "bridge"], capture_output=True, text=True
        )
        _ip("netns", "delete", name)
        made = joined
    return None if made.returncode == 0 else f"network namespaces are not allowed here ({made.stderr.strip()})"


@contextmanager
def machines(names: Sequence[str], *, own_networks: bool, more_addresses: int = 0) -> Iterator[dict[str, Machine]]:
    """Make machines; the first one has `more_addresses` beside its own (`address_of`)."""
    with ExitStack() as stack:
        if not own_networks:
            yield {name: Machine(name, "127.0.0.1", stack.enter_context(ThreadPoolExecutor(1))) for name in names}
            return
        switch = f"pcp{os.getpid()}"
        stack.callback(_delete, [switch, *(f"{switch}-{number}" for number in range(len(names)))])
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        made = {}
        for number, name in enumerate(names):
            namespace, port = f"{switch}-{number}", f"port{number}"
            _ip("netns", "add", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
            cable = ["link", "add", "eth0", "netns", namespace, "type", "veth", "peer", "name", port, "netns", switch]
            _ip(*cable)
            addresses = [f"{_NET}.{number + 1}"]
            if number == 0:
                addresses += [address_of(more) for more in range(more_addresses)]
            for address in addresses:
                _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", namespace, "link", "set", "eth0", "up")
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            executor = stack.enter_context(ThreadPoolExecutor(1, initializer=_enter, initargs=(namespace,)))
            made[name] = Machine(name, addresses[0], executor, namespace, switch, port)
        yield made


def address_of(more: int) -> str:
    """Return one of the first machine's further addresses."""
    return f"{_NET}.{100 + more}"


def _enter(namespace: str) -> None:
    """Put this thread into a network; what it starts begins there, too."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = os.open(Path("/run/netns", namespace), os.O_RDONLY)
    try:
        if libc.setns(handle, _NEW_NETWORK) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), namespace)
    finally:
        os.close(handle)


def _delete(namespaces: Sequence[str]) -> None:
    for namespace in namespaces:
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")
