"""Foreseeable ends of a program, each with its exit code."""

import difflib


class Refusal(Exception):
    """A foreseeable end: one message says what was found, expected, and where."""

    code = 1

    def __init__(self, message, *, agreed=False):
        super().__init__(message)
        self.agreed = agreed  # raised on every rank, so all may leave in order


class UsageError(Refusal):
    """An unknown flag, key or value, or options that contradict each other."""

    code = 2


class DataError(Refusal):
    """A file that is missing, damaged, inconsistent or unfit for the task."""

    code = 3


class Diverged(Refusal):
    """A gradient or a weight is no longer finite."""

    code = 4


class CheckpointError(Refusal):
    """A run folder that cannot be written to, or resumed from."""

    code = 5


class Hang(Refusal):
    """No step was completed for too long."""

    code = 6


class Stopped(Refusal):
    """Stopped on request, after a checkpoint; resume it."""

    code = 75


def nearest(word, known):
    """Return "; did you mean …?" for the known word most like this one, or nothing."""
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def expect(flag, word, known):
    """Raise UsageError unless the word given to a flag is one of the known ones."""
    if word not in known:
        names = ", ".join(known)
        near = nearest(str(word), list(known))
        raise UsageError(f"{flag} {word}: expected one of {names}{near}")
