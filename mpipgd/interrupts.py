"""Signals that ask a program to stop, and where Python may raise KeyboardInterrupt.

SIGUSR1, SIGINT and SIGTERM are recorded; training looks at the record after its steps.
Where no training does, the latter two raise KeyboardInterrupt.
"""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from os import _exit
from types import CodeType, FrameType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

INTERRUPTED = 130  # exit code after SIGINT, as in a shell
SOON, LATER = 0.01, 3.0  # seconds until an interrupt is raised again

Function = TypeVar("Function", bound=Callable[..., object])

# Signals that asked this process to stop, oldest first. A signal handler has nothing
# but global state to write to: the handlers append here, and nothing else changes it.
stop_signals: list[int] = []

# Whether training looks at `stop_signals` after its steps: only then do SIGINT and
# SIGTERM wait for it.
_checked_between_steps = False

_uninterruptible: set[CodeType] = set()


def install_handlers() -> None:
    """Install the handlers of SIGUSR1, SIGINT and SIGTERM.

    Python prints an exception that a `__del__` or a callback of C code raises, and goes
    on; an interrupt that meets with that is silent, and comes again a little later. So
    does one that has not ended the program.
    """
    signal.signal(signal.SIGUSR1, _record_stop)
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if not isinstance(sys.unraisablehook, _UnraisableHook):
        sys.unraisablehook = _UnraisableHook(sys.unraisablehook)


def stop_requested() -> bool:
    """Return whether a signal has asked this process to stop."""
    return bool(stop_signals)


def interrupted() -> bool:
    """Return whether KeyboardInterrupt was raised, which nothing may have swallowed."""
    return not _checked_between_steps and bool(
        {signal.SIGINT, signal.SIGTERM} & set(stop_signals)
    )


@contextlib.contextmanager
def stops_between_steps() -> Iterator[None]:
    """Let SIGINT and SIGTERM, too, be requests to stop after a step, in a block."""
    global _checked_between_steps
    _checked_between_steps = True
    try:
        yield
    finally:
        _checked_between_steps = False


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM end the process at once, in a block that calls C code.

    Handlers in Python would wait for it: for ever, where another rank has ended.
    """
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if _is_handled_here(n)]
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, _interrupt)


def uninterruptible(function: Function) -> Function:
    """Let no interrupt be raised in a function: a callback of C code, which may crash.

    It is raised soon after.
    """
    code = getattr(function, "__code__")  # noqa: B009 mypy knows it of functions only
    _uninterruptible.add(code)
    return function


def _is_handled_here(number: int) -> bool:
    return signal.getsignal(number) is _interrupt


def _record_stop(number: int, frame: FrameType | None) -> None:
    stop_signals.append(number)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Record a request to stop, or interrupt what does not look at it.

    The second signal ends the process at once.
    """
    if number in stop_signals:
        _exit(INTERRUPTED)
    stop_signals.append(number)
    _raise_interrupt(number, frame)


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    if not interrupted():  # training looks at the record
        return
    while frame is not None:
        if frame.f_code in _uninterruptible:
            return _interrupt_in(SOON)
        frame = frame.f_back
    _interrupt_in(LATER)  # some C code clears errors, as Arrow's when it imports pandas
    raise KeyboardInterrupt


def _interrupt_in(seconds: float) -> None:
    signal.signal(signal.SIGALRM, _raise_interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)


class _UnraisableHook:
    """Python's hook for exceptions that it must ignore; interrupts come again."""

    def __init__(self, previous: "Callable[[UnraisableHookArgs], object]") -> None:
        self._previous = previous

    def __call__(self, unraisable: "UnraisableHookArgs") -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _interrupt_in(SOON)
        else:
            self._previous(unraisable)
