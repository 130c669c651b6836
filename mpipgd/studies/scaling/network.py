"""What the user states about a network: latency and bandwidth, as numbers."""

from typing import NamedTuple

from ...errors import UsageError


class Network(NamedTuple):
    """The network between nodes, in seconds and bytes/s."""

    latency: float
    bandwidth: float


def parse_network(text: str) -> Network:
    """Return the network of a text like "latency=2us,bandwidth=12GB/s".

    Raises UsageError where the text is anything else.
    """
    units = {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    units |= {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3}
    units |= {"Gbit/s": 1.25e8, "Mbit/s": 1.25e5}
    try:
        pairs = dict(pair.split("=") for pair in text.split(","))
        network = Network(
            *(_quantity(pairs.pop(key), units) for key in Network._fields)
        )
        if pairs or min(network) <= 0:
            raise ValueError
        return network
    except (ValueError, KeyError):
        raise UsageError(
            f"--network {text}: expected latency=SECONDS,bandwidth=RATE, as "
            "latency=2us,bandwidth=12GB/s or latency=50us,bandwidth=1Gbit/s"
        ) from None


def _quantity(text: str, units: dict[str, float]) -> float:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzGMBµ/")
    return float(number) * units[text[len(number) :]]
