"""Work ahead: an iterator's next values are made in a thread of their own while the last ones are looked at."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def prefetched(values: Iterable[T], ahead: int = 4) -> Iterator[T]:
    """The same values in the same order, up to `ahead` of them made in advance; errors come where they would have."""
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=ahead)
    left = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> bool:
        while not left.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for value in values:
                if not put((value,)):
                    return
            put(None)
        except BaseException as error:
            put(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        left.set()
        worker.join()
