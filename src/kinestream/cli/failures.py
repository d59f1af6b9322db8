"""From what can go wrong to one line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from kinestream.errors import InputWarning, KinestreamError

FAILED = 1
INTERRUPTED = 130
TERMINATED = 143
BROKEN_PIPE = 141
DISK_FULL = "the disk is full{where}; nothing was left half-written. Free some space and run it again"
TRACEBACK_VARIABLE = "KINESTREAM_TRACEBACK"


@dataclass
class Outcome:
    """How a command ended."""

    code: int = 0


class Terminated(BaseException):
    """SIGTERM came: unwinds like Ctrl-C, so that half-written files are taken away."""


@contextlib.contextmanager
def exit_code_of() -> Iterator[Outcome]:
    """Runs its block and turns what it raises into `outcome.code` and one line on stderr.

    KINESTREAM_TRACEBACK=1 lets every error through, for those who look for its cause.
    """
    outcome = Outcome()
    try:
        with _terminating_cleanly(), _saying_warnings():
            yield outcome
            sys.stdout.flush()
    except KinestreamError as error:
        outcome.code = _report(error, str(error), error.exit_code)
    except KeyboardInterrupt:
        outcome.code = INTERRUPTED
        print("kinestream: stopped", file=sys.stderr)
    except Terminated:
        outcome.code = TERMINATED
        print("kinestream: terminated", file=sys.stderr)
    except BrokenPipeError:
        # Whoever read stdout went away (`| head`): no error, but Python would complain once more on leaving.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        outcome.code = BROKEN_PIPE
    except OSError as error:
        outcome.code = _report(error, _os_error_text(error), FAILED)
    except MemoryError as error:
        outcome.code = _report(error, "out of memory; try fewer samples, shorter motions or smaller files", FAILED)
    except Exception as error:
        if "No space left on device" in str(error):  # how libraries that write for us pass a full disk on
            outcome.code = _report(error, DISK_FULL.format(where=""), FAILED)
            return
        text = f"unexpected {type(error).__name__}: {error} (a bug; {TRACEBACK_VARIABLE}=1 shows where)"
        outcome.code = _report(error, text, FAILED)


@contextlib.contextmanager
def _saying_warnings() -> Iterator[None]:
    """Within the block, what is odd about an input file is one line on stderr; other warnings are as ever."""
    with warnings.catch_warnings():
        as_ever = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, InputWarning):
                print(f"kinestream: warning: {' '.join(str(message).split())}", file=sys.stderr)
            else:
                as_ever(message, category, *where, **more)

        warnings.showwarning = show
        yield


def _report(error: BaseException, text: str, code: int) -> int:
    if os.environ.get(TRACEBACK_VARIABLE) == "1":
        raise error
    print(f"kinestream: error: {' '.join(text.split())}", file=sys.stderr)
    return code


def _os_error_text(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DISK_FULL.format(where=where)
    return f"{error.strerror or error}{where}"


@contextlib.contextmanager
def _terminating_cleanly() -> Iterator[None]:
    """Within the block, SIGTERM raises Terminated; only the main thread may set signal handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
