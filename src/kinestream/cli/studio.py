"""`kinestream studio`: the page on which one types, watches, and saves."""

from __future__ import annotations

import argparse
import webbrowser
from typing import TYPE_CHECKING

from kinestream.cli.parser import add_verb
from kinestream.cli.serve import add_server_options, listening, serve

if TYPE_CHECKING:
    from kinestream.cli.parser import Subparsers

DESCRIPTION = """\
Open the studio: type what the body should do, and it moves; go back, try another way, save a file. The page works
offline.

  kinestream studio
  kinestream studio --fast --port 8080
"""


def add_parser(verbs: Subparsers) -> None:
    """Add `studio`."""
    parser = add_verb(
        verbs,
        "studio",
        usage="studio [--port P] [options]",
        summary="a page to type, watch and save in",
        description=DESCRIPTION,
        run=run,
    )
    add_server_options(parser)
    parser.add_argument("--no-browser", dest="browser", action="store_false", help="only say the page's address")


def run(arguments: argparse.Namespace) -> None:
    """Serve, and open the page."""

    def opened(url: str) -> None:
        listening(url)
        if arguments.browser:
            webbrowser.open(url if arguments.token is None else f"{url}/?token={arguments.token}")

    serve(arguments, opened)
