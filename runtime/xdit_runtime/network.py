"""Addresses and ports of a pod."""

import fcntl
import socket
import struct

_SIOCGIFADDR = 0x8915


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def interface_towards(host: str) -> str | None:
    """Name of the network interface whose address this pod uses to reach `host`; None when it cannot be told.

    gloo binds the address of the host's name, which may be 127.0.1.1: with more than one pod it must be told.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            own = probe.getsockname()[0]
    except OSError:
        return None
    return next((name for _, name in socket.if_nameindex() if own in _addresses(name)), None)


def _addresses(interface: str) -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
            found.append(socket.inet_ntoa(answer[20:24]))
        except OSError:
            pass  # an interface without an IPv4 address
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as lines:  # noqa: PTH123 - a kernel table, not a path of ours
            for line in lines:
                digits, *_, name = line.split()
                if name == interface:
                    found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)))
    except OSError:
        pass  # a kernel without IPv6
    return found
