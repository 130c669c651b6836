"""What somebody states of a network: latency and bandwidth, as numbers."""

from ...errors import UsageError


def parse_network(text):
    """Return (seconds, bytes/s) of a text like "latency=2us,bandwidth=12GB/s"."""
    units = {"s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
    units |= {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3}
    units |= {"Gbit/s": 1.25e8, "Mbit/s": 1.25e5}
    try:
        pairs = dict(each.split("=") for each in text.split(","))
        values = [_quantity(pairs.pop(key), units) for key in ("latency", "bandwidth")]
        if pairs or min(values) <= 0:
            raise ValueError
        return tuple(values)
    except (ValueError, KeyError):
        raise UsageError(
            f"--network {text}: expected latency=SECONDS,bandwidth=RATE, as "
            "latency=2us,bandwidth=12GB/s or latency=50us,bandwidth=1Gbit/s"
        ) from None


def _quantity(text, units):
    number = text.rstrip("abcdefghijklmnopqrstuvwxyzGMBµ/")
    return float(number) * units[text[len(number) :]]
