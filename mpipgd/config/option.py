"""One option: its help, its known values and its bounds, and whether a value fits."""

from dataclasses import field

from ..errors import UsageError, expect


def option(default, text, *, choices=None, group, low=None, high=None):
    """Return a field with its help, its known values, and its bounds."""
    known = {"help": text, "choices": choices, "group": group, "low": low, "high": high}
    return field(default=default, metadata=known)


def flag(name):
    """Return the flag of a field: --lr-scaling for lr_scaling."""
    return "--" + name.replace("_", "-")


def parse_bytes(text):
    """Return the bytes in a text such as 2GB; UsageError where it says none."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
    number = text.rstrip("BKMGTbkmgt")
    try:
        found = float(number) * units[text[len(number) :].upper()]
    except (ValueError, KeyError):
        found = 0
    if not found >= 1:
        raise UsageError(f"--memory-limit {text}: expected bytes, as 500MB or 2GB")
    return int(found)


def check_value(each, value):
    """Refuse a value that is of the wrong type, unknown, or out of bounds."""
    if value is None:
        return
    known, choices = each.metadata, each.metadata["choices"]
    for item in value if isinstance(value, tuple) else (value,):
        if choices:
            expect(flag(each.name), item, choices)
        low, high = known["low"], known["high"]
        if (low is not None and not item >= low) or (high is not None and item > high):
            wanted = f"at least {low}" + (
                "" if high is None else f" and at most {high}"
            )
            raise UsageError(f"{flag(each.name)} {item}: expected {wanted}")
