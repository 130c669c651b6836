"""Foreseeable ends of a program, each with its exit code."""

import difflib


class MpipgdError(Exception):
    """A foreseeable end: one message says what was found, expected, and where."""

    code = 1

    def __init__(self, message, *, agreed=False):
        super().__init__(message)
        self.agreed = agreed  # raised on every rank, so all may leave in order


class UsageError(MpipgdError):
    """An unknown flag, key or value, or options that contradict each other."""

    code = 2


class DataError(MpipgdError):
    """A file that is missing, damaged, inconsistent or unfit for the task."""

    code = 3


class DivergenceError(MpipgdError):
    """A gradient or a weight is no longer finite."""

    code = 4


class CheckpointError(MpipgdError):
    """A run folder that cannot be written to, or resumed from."""

    code = 5


class HangError(MpipgdError):
    """No step was completed for too long."""

    code = 6


class StopRequested(MpipgdError):
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


def check_finite(value, step, steps_per_epoch, what="gradient"):
    """Raise Diverged, known to all ranks, when a number they agree on is not finite."""
    if value - value != 0:
        epoch, within = divmod(step, steps_per_epoch)
        raise DivergenceError(
            f"diverged: the {what} is not finite at epoch {epoch + 1}, step "
            f"{within + 1}; a smaller --lr or --clip-norm may help",
            agreed=True,
        )
