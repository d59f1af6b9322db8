"""The command line: `kinestream VERB ...`.

Results go to stdout, talk and progress to stderr. Exit codes: 0 done, 1 failed, 2 bad use or bad input, 130 Ctrl-C.
Nothing heavy is imported here or at the top of a verb's file: `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from kinestream.cli import (
    capture,
    compare,
    convert,
    dance,
    data,
    evaluate,
    generate,
    import_,
    info,
    inspect_,
    render,
    restore,
    serve,
    stream,
    train,
)
from kinestream.cli.failures import exit_code_of
from kinestream.cli.parser import HelpFormatter, Parser, version_text

__all__ = ["build_parser", "main"]

VERBS = (
    generate, dance, stream, serve, capture, convert, info, inspect_, restore, render, train, evaluate, compare, data,
    import_,
)  # fmt: skip

DESCRIPTION = """\
Streaming 3D human motion: sentences in, a moving body out.

  kinestream generate "walks forward" "waves with both hands, happy" -o walk.glb
"""

EPILOG = """\
`kinestream VERB --help` explains a verb. Results go to stdout, progress to stderr. Exit codes: 0 done, 1 failed,
2 bad use or bad input, 130 stopped with Ctrl-C. KINESTREAM_TRACEBACK=1 shows where an error came from.
"""


def build_parser() -> Parser:
    """The parser with all verbs; each verb's `run` stands in the parsed arguments."""
    parser = Parser(
        prog="kinestream",
        usage="kinestream VERB ...",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and leave")
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB")
    for verb in VERBS:
        verb.add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; errors become one line on stderr."""
    with exit_code_of() as outcome:
        arguments = build_parser().parse_args(argv)
        if arguments.version:
            print(version_text())
        elif arguments.verb is None:
            build_parser().error('name a verb, for example: kinestream generate "walks forward" -o walk.glb')
        else:
            arguments.run(arguments)
    return outcome.code
