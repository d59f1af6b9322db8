"""Jobs on several processes that stay until the measurement is over."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from kinestream.errors import KinestreamError

Job = TypeVar("Job")
Done = TypeVar("Done")


class Workers:
    """A context manager: the processes start with the first job and end with the block.

    `start`, which must be picklable, is called in every new process before its first job.
    """

    def __init__(self, processes: int, start: Callable[[], None]) -> None:
        self.processes, self._start = processes, start
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def work(self, do: Callable[[Job], Done], jobs: Sequence[Job]) -> Iterator[Done]:
        """What becomes of the jobs as they are done, begun in their order; KinestreamError where a process died."""
        if not jobs:
            return
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.processes, context, self._start)
        waiting = [self._pool.submit(do, job) for job in jobs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BrokenProcessPool as error:
            raise KinestreamError(f"a generating process died: {error}. Run again with fewer --processes.") from error
