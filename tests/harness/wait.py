"""Waiting for something to become true, with a deadline. Nothing in the tests sleeps instead."""

import time

# How often a condition is looked at again.
POLL_SECONDS = 0.05


class TooLate(AssertionError):
    """A condition did not come true in time."""


def until(what, condition, deadline=15.0):
    """The first truthy value of `condition()`; fails with `what` when the deadline has passed."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise TooLate(f"{what}: not within {deadline:g} s (last: {value!r})")
        time.sleep(POLL_SECONDS)
