"""What a server allows."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from kinestream.errors import BadInputError


@dataclass(frozen=True)
class ServerSettings:
    """Addresses and limits of a server.

    Attributes:
        host, port: where it listens. An address that others can reach needs a token.
        token: what clients have to show; None: nobody has to, on the loopback only.
        max_streams: live streams at once.
        max_queued: streams that may wait for a place.
        keep_s: how long a stream waits for a client that is gone.
        history_s: seconds of sent frames that a client can ask for again.
        lead_s: frames leave so long before they are due, to fill a player's buffer.
        max_message_bytes: of one message of a client.
        messages_per_s: of one client, on average; ten seconds' worth may come at once.
        max_upload_bytes: of a file for a job.
        max_jobs: jobs that may wait or be done at once, the finished ones that are kept among them.
        state: folder in which streams are kept while the server restarts; None: they end with it.
    """

    host: str = "127.0.0.1"
    port: int = 8_080
    token: str | None = None
    max_streams: int = 16
    max_queued: int = 4
    keep_s: float = 60.0
    history_s: float = 10.0
    lead_s: float = 0.15
    max_message_bytes: int = 1 << 20
    messages_per_s: float = 30.0
    max_upload_bytes: int = 64 << 20
    max_jobs: int = 32
    state: Path | None = None

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise BadInputError(
                f"{self.host} can be reached from other machines: give a token that clients have to show "
                "(--token WORD), or listen on 127.0.0.1"
            )
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise BadInputError("a token has at least 8 printable ASCII characters")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
