"""The one family of errors that users see: what was expected, what came, what to do."""

from __future__ import annotations


class KinestreamError(Exception):
    """Something failed; the command line prints it without a traceback and exits with `exit_code`."""

    exit_code = 1


class BadInputError(KinestreamError):
    """What the user gave cannot be used (a file, a prompt, an option, a configuration)."""

    exit_code = 2


class MissingExtraError(BadInputError):
    """An optional dependency is not installed; names the extra that brings it."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: install it with  pip install 'kinestream[{extra}]'")
        self.extra = extra


class TooManyStreamsError(KinestreamError):
    """No place is free for another stream; those that have one are not disturbed."""

    def __init__(self, places: int, waiting: int) -> None:
        queue = f", and {waiting} wait for one" if waiting else ""
        super().__init__(f"All {places} places for streams are taken{queue}. Come back when a stream has left.")
        self.places = places
        self.waiting = waiting


class InputWarning(UserWarning):
    """A file was read although something in it is odd: its meaning was plain, or a choice had to be made."""
