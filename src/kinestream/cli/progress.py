"""Progress on stderr for what takes longer than a moment."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator

# Shorter work shows nothing.
DELAY_S = 1.0
PREPARING_S = 3.0


@contextlib.contextmanager
def preparing() -> Iterator[None]:
    """While networks are made ready: a line on stderr where that takes seconds, as it does once on every machine."""
    text = "kinestream: compiling for this processor, once; it takes some ten seconds"
    timer = threading.Timer(PREPARING_S, print, [text], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def progress_bar(what: str, unit: str = "frames") -> Iterator[Callable[[int, int | None], None]]:
    """Gives `update(done, total or None)`; a bar appears on stderr after a second.

    Where stderr is no terminal it is drawn again every ten seconds only.
    """
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0
    bar = tqdm(
        desc=what,
        unit=unit,
        file=sys.stderr,
        delay=DELAY_S,
        mininterval=interval,
        maxinterval=interval,
        leave=False,
    )

    def update(done: int, total: int | None) -> None:
        bar.total = total
        bar.update(done - bar.n)

    with bar:
        yield update
