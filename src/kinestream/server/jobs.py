"""Jobs: work that ends in files. One is done at a time, the others wait."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kinestream.errors import BadInputError, KinestreamError
from kinestream.motion import Motion

Format = Literal["bvh", "glb", "fbx", "npz", "npy", "html", "mp4"]
State = Literal["waiting", "working", "done", "failed"]
_SEED = 2**63 - 1


class GenerateJob(BaseModel):
    """Sentences to motion, one after the other."""

    model_config = ConfigDict(extra="forbid")

    prompts: list[str] = Field(min_length=1, max_length=64)
    seconds: list[float | None] | None = None
    seed: int = Field(0, ge=0, le=_SEED)
    formats: list[Format] = Field(["glb"], min_length=1)


class DanceJob(BaseModel):
    """A song to a dance."""

    model_config = ConfigDict(extra="forbid")

    genre: str | None = Field(None, max_length=40)
    start_s: float = Field(0.0, ge=0)
    end_s: float | None = Field(None, gt=0)
    seed: int = Field(0, ge=0, le=_SEED)
    formats: list[Format] = Field(["glb"], min_length=1)


class ConvertJob(BaseModel):
    """A motion file to other formats."""

    model_config = ConfigDict(extra="forbid")

    formats: list[Format] = Field(["glb"], min_length=1)


class JobReport(BaseModel):
    """How a job stands. `files` are names to ask for once it is done."""

    job: str
    kind: str
    state: State
    error: str | None
    files: list[str]


@dataclass
class Job:
    """One job: what makes its motion, and what has come of it."""

    kind: str
    folder: Path
    make: Callable[[], Motion]
    formats: Sequence[Format]
    key: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    error: str | None = None
    files: dict[str, Path] = field(default_factory=dict)

    def report(self) -> JobReport:
        """For the client."""
        return JobReport(job=self.key, kind=self.kind, state=self.state, error=self.error, files=list(self.files))


class JobRunner:
    """Does jobs one after the other; keeps the newest `most`, files and all, until it is closed.

    A client's names are never used as paths: uploads and results have names of our own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._root = Path(tempfile.mkdtemp(prefix="kinestream-jobs-"))
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kinestream-job")
        self.counts = {"done": 0, "failed": 0}

    def folder(self) -> Path:
        """A new folder for a job's input and results."""
        return Path(tempfile.mkdtemp(dir=self._root))

    def submit(self, kind: str, folder: Path, make: Callable[[], Motion], formats: Sequence[Format]) -> Job:
        """Queue a job. BadInputError where too many wait already."""
        with self._lock:
            over = [job for job in self._jobs.values() if job.state in ("done", "failed")]
            while len(self._jobs) >= self._most and over:
                self._drop(over.pop(0))
            if len(self._jobs) >= self._most:
                shutil.rmtree(folder, ignore_errors=True)
                raise BadInputError(f"{self._most} jobs wait already; come back when some are done")
            job = Job(kind, folder, make, tuple(dict.fromkeys(formats)))
            self._jobs[job.key] = job
        self._pool.submit(self._do, job)
        return job

    def find(self, key: str) -> Job | None:
        """The job of a key."""
        return self._jobs.get(key)

    def remove(self, job: Job) -> None:
        """Forget a job that is over, and its files; BadInputError while it is worked on."""
        with self._lock:
            if job.state == "working":
                raise BadInputError("the job is being worked on; delete it when it is done")
            self._drop(job)

    def close(self) -> None:
        """Finish what is worked on, and leave nothing behind."""
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._root, ignore_errors=True)

    def _drop(self, job: Job) -> None:
        self._jobs.pop(job.key, None)
        shutil.rmtree(job.folder, ignore_errors=True)

    def _do(self, job: Job) -> None:
        from kinestream.io import write_motion

        if job.key not in self._jobs:
            return
        job.state = "working"
        try:
            motion = job.make()
            for suffix in job.formats:
                path = job.folder / f"{job.kind}.{suffix}"
                write_motion(motion, path)
                job.files[path.name] = path
        except KinestreamError as error:
            job.state, job.error = "failed", str(error).replace(str(job.folder), "")
        except Exception:
            job.state, job.error = "failed", "the server failed at this job; its log says more"
            self.counts["failed"] += 1
            raise
        else:
            job.state = "done"
        self.counts[job.state] += 1
