"""What the verbs' parsers share: how help looks, how bad use is reported, and checked argument types."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kinestream.errors import BadInputError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction["Parser"]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help of one look on every Python: `-o, --output FILE`, 100 columns unless the terminal is narrower."""

    def __init__(self, prog: str) -> None:
        import shutil

        width = min(100, shutil.get_terminal_size((100, 24)).columns)
        super().__init__(prog, max_help_position=28, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings)
        if action.nargs == 0:
            return names
        return f"{names} {self._format_args(action, action.dest.upper())}"


class Parser(argparse.ArgumentParser):
    """A parser that raises BadInputError for bad use instead of printing its usage and leaving."""

    def error(self, message: str) -> NoReturn:
        raise BadInputError(f"{message} (see `{self.prog} --help`)")


def add_verb(
    verbs: Subparsers,
    name: str,
    *,
    usage: str,
    summary: str,
    description: str,
    run: Callable[[argparse.Namespace], None] | None = None,
) -> Parser:
    """Add a verb; `description` explains and shows examples, `summary` is its line in the list of verbs."""
    parser = verbs.add_parser(
        name,
        prog=f"kinestream {name}",
        usage=f"kinestream {usage}",
        help=summary,
        description=description,
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def version_text() -> str:
    """`kinestream 0.1.0`, from the installed package's metadata."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"kinestream {version('kinestream')}"
    except PackageNotFoundError:
        return "kinestream (not installed; run `pip install -e .`)"


def positive_int(text: str) -> int:
    """A whole number of at least one."""
    return _whole_number(text, 1, 2**31 - 1)


def whole_number(text: str) -> int:
    """A whole number of at least zero."""
    return _whole_number(text, 0, 2**31 - 1)


def seed_int(text: str) -> int:
    """A seed: a whole number from 0 to 2**63 - 1."""
    return _whole_number(text, 0, 2**63 - 1)


def _whole_number(text: str, least: int, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a whole number, got {text[:40]!r}") from None
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, got {text[:40]}")
    return value


def positive_float(text: str) -> float:
    """A finite number above zero."""
    value = _finite(text)
    if value <= 0.0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def number_from_zero(text: str) -> float:
    """A finite number of at least zero."""
    value = _finite(text)
    if value < 0.0:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, got {text}")
    return value


def _finite(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text}")
    return value


def existing_file(path: Path, what: str) -> Path:
    """The path, when it is a file; BadInputError otherwise."""
    if not path.exists():
        raise BadInputError(f"{path} does not exist; expected {what}")
    if not path.is_file():
        raise BadInputError(f"{path} is no file; expected {what}")
    return path
