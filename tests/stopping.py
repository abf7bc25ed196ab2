"""A call stopped by an exception at any line of the package, as a signal's handler may raise."""

import sys
from pathlib import Path

import lstmfast

PACKAGE = str(Path(lstmfast.__file__).parent)


class Stop(BaseException):
    """What no code expects."""


def stopped_at(event, call, *arguments, **keywords):
    """Call with an exception raised at the so-many-th line, call or return in the package.

    Return whether it came to that (where a generator is closed, Python drops the exception).
    """
    left = event

    def trace(frame, what, value):
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        left -= 1
        if left == -1:
            raise Stop
        return trace

    sys.settrace(trace)
    try:
        call(*arguments, **keywords)
    except Stop:
        pass
    finally:
        sys.settrace(None)
    return left < 0
