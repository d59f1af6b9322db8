"""`kinestream serve`: live streams and jobs over HTTP and WebSocket."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from kinestream.cli.parser import add_verb
from kinestream.cli.progress import preparing
from kinestream.errors import BadInputError

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers
    from kinestream.server.settings import ServerSettings

DESCRIPTION = """\
Serve live streams over WebSocket (ws://HOST:PORT/stream) and jobs over HTTP (http://HOST:PORT/docs); docs/server.md has
the messages.

  kinestream serve
  kinestream serve --host 0.0.0.0 --token a-long-secret --fast
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `serve`."""
    parser = add_verb(
        verbs,
        "serve",
        usage="serve [--host H] [--port P] [--token WORD] [options]",
        summary="streams and jobs over the network",
        description=DESCRIPTION,
        run=run,
    )
    add_server_options(parser)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """What `serve` and `studio` share."""
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: 127.0.0.1, this machine only)")
    parser.add_argument("--port", type=int, default=8_080, help="0 takes a free one (default: 8080)")
    parser.add_argument("--token", metavar="WORD", help="what clients have to show; needed where others can reach it")
    parser.add_argument("--streams", type=int, default=16, metavar="N", help="live streams at once (default: 16)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="a text-to-motion model (default: the packaged one)")
    parser.add_argument(
        "--dance-model", type=Path, metavar="DIR", help="a music-to-dance model (default: the packaged one)"
    )
    parser.add_argument("--fast", action="store_true", help="fast mode: int8 weights and fewer sampling steps")
    parser.add_argument(
        "--state", type=Path, metavar="DIR", help="keep streams here while the server restarts (default: they end)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Serve until it is interrupted."""
    serve(arguments, listening)


def serve(arguments: argparse.Namespace, on_listening: Callable[[str], None]) -> None:
    """Serve, and say where once it listens."""
    if not 0 <= arguments.port <= 65_535:
        raise BadInputError(f"--port: expected 0 to 65535, got {arguments.port}")
    if arguments.streams < 1:
        raise BadInputError(f"--streams: expected 1 or more, got {arguments.streams}")
    from kinestream.server.running import check_extra, serve_forever
    from kinestream.server.settings import ServerSettings

    check_extra()
    settings = ServerSettings(
        host=arguments.host,
        port=arguments.port,
        token=arguments.token,
        max_streams=arguments.streams,
        state=arguments.state,
    )
    serve_forever(application(arguments, settings), settings, on_listening)


def listening(url: str) -> None:
    """Say where."""
    print(f"kinestream: serving on {url} (Ctrl-C ends)", file=sys.stderr, flush=True)


def application(arguments: argparse.Namespace, settings: ServerSettings) -> object:
    """The application with the models that were asked for; the text model is loaded at once."""
    import gc

    import torch

    from kinestream.checkpoints import load_music_to_dance, load_text_to_motion
    from kinestream.cli.model import SMALL_MODEL
    from kinestream.inference import Mode
    from kinestream.server.app import Models, create_app
    from kinestream.streaming import DanceEngine, Engine

    mode: Mode = "fast" if arguments.fast else "exact"
    models = Models(
        lambda: Engine(load_text_to_motion(arguments.model), mode=mode),
        lambda: DanceEngine(load_music_to_dance(arguments.dance_model), mode=mode),
        packaged=arguments.model is None,
    )
    with preparing():
        engine = models.engine("text")
    if sum(p.numel() for p in engine.model.ar.parameters()) < SMALL_MODEL:
        torch.set_num_threads(1)
    for note in engine.notes:
        print(f"kinestream: {note}", file=sys.stderr)
    gc.freeze()
    return create_app(models, settings)
