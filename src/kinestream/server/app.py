"""The web application: live streams over WebSocket, jobs over HTTP, health and metrics."""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, File, Form, HTTPException, Request, UploadFile, WebSocket
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection

from kinestream.errors import BadInputError, KinestreamError
from kinestream.io import READ_SUFFIXES
from kinestream.motion import Motion
from kinestream.server import wire
from kinestream.server.connection import Connection, Services
from kinestream.server.hub import Hub
from kinestream.server.jobs import ConvertJob, DanceJob, GenerateJob, Job, JobReport, JobRunner
from kinestream.server.metrics import metrics_text
from kinestream.server.settings import ServerSettings
from kinestream.server.studio import figure, page_file
from kinestream.streaming import DanceEngine, Engine, SessionOptions, generate, generate_dance

_SOUND_SUFFIXES = (".mp3", ".wav", ".flac", ".ogg", ".m4a", ".aac", ".opus", ".mp4")
_PIECE = 1 << 20
Asked = TypeVar("Asked", bound=BaseModel)


class Models:
    """The models that a server plays, each loaded when it is first asked for."""

    def __init__(self, text: Callable[[], Engine], dance: Callable[[], DanceEngine], *, packaged: bool = False) -> None:
        self.packaged = packaged
        self._makers: dict[str, Callable[[], Any]] = {"text": text, "dance": dance}
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def engine(self, kind: str) -> Any:
        """The engine of a kind of stream."""
        with self._lock:
            if kind not in self._made:
                self._made[kind] = self._makers[kind]()
            return self._made[kind]


class _State:
    def __init__(self, models: Models, settings: ServerSettings) -> None:
        self.models = models
        self.settings = settings
        self.jobs = JobRunner(settings.max_jobs)
        self.hubs: dict[str, Hub] = {}
        self.connections = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def hub(self, kind: str) -> Hub:
        with self._lock:
            if kind not in self.hubs:
                assert self.loop is not None, "the application has begun"
                engine = self.models.engine(kind)
                begin = self._dance if kind == "dance" else self._text
                self.hubs[kind] = Hub(kind, engine, self.settings, self.loop, begin)
            return self.hubs[kind]

    def _text(self, seed: int, genre: str | None) -> Any:
        if genre is not None:
            raise BadInputError("genre: a stream of text has none; join with kind dance")
        return self.models.engine("text").session(seed, SessionOptions(when_idle="idle"))

    def _dance(self, seed: int, genre: str | None) -> Any:
        return self.models.engine("dance").session(seed, genre=genre)


def create_app(models: Models, settings: ServerSettings) -> FastAPI:
    """The application. Its streams are kept in `settings.state` when it ends, and taken up when it begins."""
    state = _State(models, settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        state.loop = asyncio.get_running_loop()
        if settings.state is not None and any(settings.state.glob("*.json")):
            hub = await asyncio.to_thread(state.hub, "text")
            await asyncio.to_thread(hub.take_up, settings.state)
        yield
        for hub in state.hubs.values():
            await asyncio.to_thread(hub.close)
            if settings.state is not None:
                hub.keep(settings.state)
        state.jobs.close()

    app = FastAPI(title="kinestream", version=str(wire.VERSION), lifespan=life, docs_url="/docs", redoc_url=None)

    def allowed(connection: HTTPConnection) -> None:
        """Refuse who shows no token, and pages of other sites."""
        if not _may(connection, settings):
            raise HTTPException(401, "show the server's token: the header `Authorization: Bearer TOKEN`")

    @app.exception_handler(KinestreamError)
    async def refused(request: Request, error: KinestreamError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422 if isinstance(error, BadInputError) else 500)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the server lives."""
        return "ok\n"

    @app.get("/metrics", dependencies=[Depends(allowed)])
    async def metrics() -> Response:
        """Counts for Prometheus."""
        text, kind = metrics_text(state.hubs.values(), state.connections, state.jobs)
        return Response(text, media_type=kind)

    @app.get("/wire", dependencies=[Depends(allowed)])
    async def wire_schema() -> dict[str, Any]:
        """JSON schemas of a live stream's messages."""
        return wire.schema()

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        if not _may(socket, settings):
            await socket.close(1008, "show the server's token")
            return
        state.connections += 1
        try:
            await Connection(socket, Services(state.hub, settings, models.packaged)).serve()
        finally:
            state.connections -= 1

    _add_jobs(app, state, allowed)
    _add_studio(app)
    return app


def _add_studio(app: FastAPI) -> None:
    """The page. It holds nothing secret: its streams and jobs ask for the token, which it takes from its address."""

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(page_file("studio.html") or "")

    @app.get("/studio/figure", include_in_schema=False)
    async def standing() -> dict[str, Any]:
        return await asyncio.to_thread(figure)

    @app.get("/studio/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        text = page_file(name)
        if text is None:
            raise HTTPException(404, "the page has no such file")
        return Response(text, media_type="text/css" if name.endswith(".css") else "text/javascript")


def _add_jobs(app: FastAPI, state: _State, allowed: Callable[[HTTPConnection], None]) -> None:
    checked = [Depends(allowed)]

    @app.post("/jobs/generate", status_code=202, dependencies=checked)
    async def generate_job(asked: GenerateJob) -> JobReport:
        """Sentences to motion."""

        def make() -> Motion:
            engine: Engine = state.models.engine("text")
            (motion,) = generate(engine, asked.prompts, asked.seconds, seed=asked.seed)
            return motion

        return state.jobs.submit("generate", state.jobs.folder(), make, asked.formats).report()

    @app.post("/jobs/dance", status_code=202, dependencies=checked)
    async def dance_job(song: Annotated[UploadFile, File()], options: Annotated[str, Form()] = "{}") -> JobReport:
        """A song to a dance; `options` is JSON, see DanceJob."""
        asked = _options(DanceJob, options)
        folder, path = await _uploaded(song, _SOUND_SUFFIXES, state)

        def make() -> Motion:
            engine: DanceEngine = state.models.engine("dance")
            return generate_dance(
                path, engine, genre=asked.genre, seed=asked.seed, start_s=asked.start_s, end_s=asked.end_s
            )

        return state.jobs.submit("dance", folder, make, asked.formats).report()

    @app.post("/jobs/convert", status_code=202, dependencies=checked)
    async def convert_job(motion: Annotated[UploadFile, File()], options: Annotated[str, Form()] = "{}") -> JobReport:
        """A motion file to other formats; `options` is JSON, see ConvertJob."""
        asked = _options(ConvertJob, options)
        folder, path = await _uploaded(motion, READ_SUFFIXES, state)

        def make() -> Motion:
            from kinestream.io import read_motion

            return read_motion(path)

        return state.jobs.submit("convert", folder, make, asked.formats).report()

    @app.post("/jobs/frames", status_code=202, dependencies=checked)
    async def frames_job(frames: Annotated[UploadFile, File()], options: Annotated[str, Form()] = "{}") -> JobReport:
        """A stream's binary frames (docs/server.md) to files; `options` is JSON, see ConvertJob."""
        asked = _options(ConvertJob, options)
        data = await frames.read(state.settings.max_upload_bytes + 1)
        if len(data) > state.settings.max_upload_bytes:
            raise HTTPException(413, f"frames have at most {state.settings.max_upload_bytes >> 20} MB here")
        motion = wire.motion_of_frames(data)
        return state.jobs.submit("take", state.jobs.folder(), lambda: motion, asked.formats).report()

    def found(key: str) -> Job:
        job = state.jobs.find(key)
        if job is None:
            raise HTTPException(404, "there is no such job (any more)")
        return job

    @app.get("/jobs/{key}", dependencies=checked)
    async def job_report(key: str) -> JobReport:
        """How a job stands."""
        return found(key).report()

    @app.delete("/jobs/{key}", status_code=204, dependencies=checked)
    async def delete_job(key: str) -> None:
        """Forget a job and its files."""
        state.jobs.remove(found(key))

    @app.get("/jobs/{key}/files/{name}", dependencies=checked)
    async def job_file(key: str, name: str) -> FileResponse:
        """A file that a job has made."""
        path = found(key).files.get(name)
        if path is None:
            raise HTTPException(404, "the job has no such file (yet)")
        return FileResponse(path, filename=path.name)


async def _uploaded(file: UploadFile, suffixes: tuple[str, ...], state: _State) -> tuple[Path, Path]:
    suffix = Path(file.filename or "").suffix.lower()
    if suffix not in suffixes:
        raise BadInputError(f"expected a file named {', '.join(suffixes)}; got {suffix or 'no suffix'}")
    folder = state.jobs.folder()
    path, size = folder / f"input{suffix}", 0
    with path.open("wb") as target:
        while piece := await file.read(_PIECE):
            size += len(piece)
            if size > state.settings.max_upload_bytes:
                raise HTTPException(413, f"a file has at most {state.settings.max_upload_bytes >> 20} MB here")
            target.write(piece)
    return folder, path


def _options(kind: type[Asked], text: str) -> Asked:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "options"
        raise BadInputError(f"{where}: {first['msg']}") from None


def _may(connection: HTTPConnection, settings: ServerSettings) -> bool:
    origin, host = connection.headers.get("origin"), connection.headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc != host:
        return False
    if settings.token is None:
        # A page of another site could otherwise reach a loopback server under a name that it controls.
        return _hostname(host) in ("localhost", "127.0.0.1", "::1", settings.host)
    shown = connection.headers.get("authorization", "").removeprefix("Bearer ")
    shown = shown or connection.query_params.get("token", "")
    return hmac.compare_digest(shown.encode(), settings.token.encode())


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
