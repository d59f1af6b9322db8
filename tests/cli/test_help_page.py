"""docs/cli.md is what the commands say themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_command_line_page_is_current(repository: Path) -> None:
    script = repository / "scripts" / "write_cli_help.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_page_does_not_depend_on_the_terminal(repository: Path) -> None:
    from scripts.write_cli_help import TARGET, help_page

    assert help_page() == TARGET.read_text(encoding="utf-8")
    assert max(map(len, TARGET.read_text(encoding="utf-8").splitlines())) <= 120
