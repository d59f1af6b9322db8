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
