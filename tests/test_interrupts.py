"""Interrupts that come where Python cannot, or must not, raise an exception."""

import subprocess
import sys

import pytest

PROLOGUE = """
import os, signal, time
from mpipgd import interrupts

interrupts.install_handlers()

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)
"""
EPILOGUE = """
try:
    meet_it()
    time.sleep(20)
except KeyboardInterrupt:
    print("interrupted")
"""


def output_and_errors(code):
    """Run a program that is interrupted in `meet_it`; return what it prints."""
    command = [sys.executable, "-c", PROLOGUE + code + EPILOGUE]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return result.stdout.split(), result.stderr


@pytest.mark.programs
def test_an_interrupt_in_a_destructor_is_silent_and_not_lost():
    code = """
class Resource:
    def __del__(self):
        interrupt()

class Faulty:
    def __del__(self):
        raise ValueError("is shown")

def meet_it():
    Faulty()
    Resource()
"""
    out, err = output_and_errors(code)
    assert out == ["interrupted"]
    assert "is shown" in err and "Interrupt" not in err


@pytest.mark.programs
def test_an_interrupt_that_is_swallowed_comes_again():
    code = """
interrupts.LATER = 0.3

def meet_it():
    try:
        interrupt()
    except KeyboardInterrupt:
        pass
"""
    assert output_and_errors(code) == (["interrupted"], "")


@pytest.mark.programs
def test_a_callback_is_completed_before_the_interrupt():
    code = """
@interrupts.uninterruptible
def meet_it():
    interrupt()
    print("completed")
"""
    assert output_and_errors(code) == (["completed", "interrupted"], "")
