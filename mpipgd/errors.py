"""Errors that a user can cause or foresee, each with its exit code."""

import difflib
import re
from collections.abc import Iterable

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tabs and line breaks


def printable(text: str) -> str:
    """Return a text with control characters as \\x1b, but for line breaks and tabs.

    Names and cells of files are printed, and could take over a terminal.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


class MpipgdError(Exception):
    """Base of all errors that end a program with one message and an exit code.

    The message says what was found, what was expected, and in which file or flag.
    `agreed`: the error is raised on every rank, so that all can end in order; otherwise
    the rank that raised it has to abort the others.
    """

    code = 1

    def __init__(self, message: str, *, agreed: bool = False) -> None:
        super().__init__(printable(message).replace("\n", "\\n"))
        self.agreed = agreed


class UsageError(MpipgdError):
    """An unknown flag, key or value, or options that contradict each other."""

    code = 2


class DataError(MpipgdError):
    """A data file that is missing, damaged, inconsistent or unsuitable for the task."""

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
    """Training stopped on request, after a checkpoint from which it can be resumed."""

    code = 75


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean …?" with the choice most like a word, or ""."""
    matches = difflib.get_close_matches(word, choices, 1, 0.5)
    return f"; did you mean {matches[0]}?" if matches else ""


def expect(flag: str, word: object, choices: Iterable[str]) -> None:
    """Raise UsageError unless the word given to a flag is one of its choices."""
    choices = list(choices)
    if word not in choices:
        names = ", ".join(choices)
        raise UsageError(
            f"{flag} {word}: expected one of {names}{nearest(str(word), choices)}"
        )


def check_finite(
    value: float, step: int, steps_per_epoch: int, what: str = "gradient"
) -> None:
    """Raise DivergenceError where a number is not finite.

    value: the same on all ranks (such as a reduced gradient's norm), so that all raise
    at the same `step`, which is counted from 0. `what` names the quantity.
    """
    if value - value != 0:  # true for NaN and infinities, also of numpy's scalars
        epoch, step_in_epoch = divmod(step, steps_per_epoch)
        raise DivergenceError(
            f"diverged: the {what} is not finite at epoch {epoch + 1}, step "
            f"{step_in_epoch + 1}; a smaller --lr or --clip-norm may help",
            agreed=True,
        )
