"""Runs the application until it is interrupted."""

from __future__ import annotations

from collections.abc import Callable

from kinestream.errors import BadInputError, MissingExtraError
from kinestream.server.settings import ServerSettings


def check_extra() -> None:
    """MissingExtraError unless the libraries of a server are there."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError:
        raise MissingExtraError("serving", "serve") from None


def serve_forever(app: object, settings: ServerSettings, on_listening: Callable[[str], None]) -> None:
    """Listen until Ctrl-C or SIGTERM, and say at which address; BadInputError where it can't be had."""
    import socket

    import uvicorn

    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise BadInputError(
            f"can't listen on {settings.host}:{settings.port}: {error.strerror}; choose another --port"
        ) from None
    host, port = listener.getsockname()[:2]
    on_listening(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application
        log_level="warning",
        ws_max_size=settings.max_message_bytes,
        timeout_graceful_shutdown=3,
    )
    uvicorn.Server(config).run(sockets=[listener])
