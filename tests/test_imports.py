"""The house's order: who may import whom, how little is public, how soon the command line answers."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import kinestream
from scripts.check_imports import LAYERS, TO_COME, find_violations

SOURCE = Path(__file__).resolve().parents[1] / "src"
TYPE_CHECKING_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {0}"


@pytest.fixture
def house(tmp_path: Path) -> Callable[..., list[str]]:
    """Builds a small package from {path: text} and gives the check's findings."""

    def build(files: dict[str, str]) -> list[str]:
        for name, text in files.items():
            path = tmp_path / "kinestream" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return [violation.text for violation in find_violations(tmp_path)]

    return build


def test_the_project_keeps_its_layers() -> None:
    assert [str(violation) for violation in find_violations(SOURCE)] == []


def test_an_upward_import_passes(house: Callable[..., list[str]]) -> None:
    assert house({"errors.py": "", "motion.py": "from kinestream.errors import KinestreamError"}) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import kinestream.motion",
        "from kinestream import motion",
        "from kinestream.motion import Motion",
        "from .motion import Motion",
        "from . import motion",
        "def later():\n    from kinestream.motion import Motion",
        TYPE_CHECKING_ONLY.format("from kinestream.motion import Motion"),
    ],
)
def test_a_downward_import_is_caught_in_every_spelling(house: Callable[..., list[str]], statement: str) -> None:
    (finding,) = house({"motion.py": "", "rotations.py": statement})
    assert "rotations imports motion" in finding


def test_sibling_models_may_not_import_each_other(house: Callable[..., list[str]]) -> None:
    findings = house(
        {
            "models/__init__.py": "",
            "models/ar_diffusion/model.py": "from kinestream.models.causal_tae.config import CausalTAEConfig",
            "models/causal_tae/config.py": "",
            "models/causal_tae/model.py": "from kinestream.models.causal_tae.config import CausalTAEConfig",
        }
    )
    assert len(findings) == 1
    assert "sibling" in findings[0]


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("streaming", "training"), ("restoration", "streaming"), ("restoration", "training")],
)
def test_training_streaming_and_restoration_do_not_know_each_other(
    house: Callable[..., list[str]], importer: str, imported: str
) -> None:
    findings = house({f"{importer}/a.py": f"import kinestream.{imported}.b", f"{imported}/b.py": ""})
    assert any("do not know each other" in finding for finding in findings)


@pytest.mark.parametrize("external", ["time", "pathlib", "socket", "urllib.request"])
def test_models_see_no_files_network_or_clocks(house: Callable[..., list[str]], external: str) -> None:
    assert len(house({"models/x/model.py": f"import {external}"})) == 1


@pytest.mark.parametrize("layer", ["streaming", "capture", "factory", "cli"])
def test_only_the_server_opens_sockets(house: Callable[..., list[str]], layer: str) -> None:
    (finding,) = house({f"{layer}/a.py": "import socket", "server/wire.py": "import socket"})
    assert f"{layer}.a imports socket" in finding


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("capture/shots.py", "models.x"), ("restoration/feet.py", "capture.shots"), ("server/app.py", "rotations")],
)
def test_layers_to_come_are_bound_already(house: Callable[..., list[str]], importer: str, imported: str) -> None:
    files = {importer: f"import kinestream.{imported}", f"{imported.replace('.', '/')}.py": ""}
    assert any("know" in finding for finding in house(files))


def test_layers_to_come_have_no_folder_and_the_docs_name_every_layer() -> None:
    there = {path.stem for path in (SOURCE / "kinestream").iterdir()}
    assert there.isdisjoint(TO_COME)
    assert set(LAYERS) - TO_COME <= there
    page = (SOURCE.parent / "docs" / "conventions.md").read_text(encoding="utf-8").partition("## Imports")[2]
    assert [name for name in LAYERS if not re.search(rf"^\|.*\b{name}\b", page, re.MULTILINE)] == []
    assert all(f"*{name}*" in page for name in TO_COME)


@pytest.mark.parametrize("place", ["{0}", "def later():\n    {0}", TYPE_CHECKING_ONLY])
def test_imports_in_a_circle_are_caught_wherever_they_stand(house: Callable[..., list[str]], place: str) -> None:
    files = {
        "data/a.py": "from kinestream.data.b import x",
        "data/b.py": "from kinestream.data import c",
        "data/c.py": place.format("from .a import y"),
        "data/d.py": "import kinestream.data.a",
    }
    assert house(files) == ["imports go in a circle: data.a, data.b, data.c"]


def test_a_package_that_imports_a_module_which_imports_the_package_is_a_circle(
    house: Callable[..., list[str]],
) -> None:
    files = {"data/__init__.py": "from kinestream.data.a import x", "data/a.py": "import kinestream.data"}
    assert house(files) == ["imports go in a circle: data, data.a"]


def test_text_and_dance_share_what_stands_above_both(house: Callable[..., list[str]]) -> None:
    files = {"data/text/a.py": "import kinestream.data.journal", "data/journal.py": ""}
    assert house(files) == []
    (finding,) = house(files | {"data/dance/b.py": "import kinestream.data.text.a"})
    assert "stands above both" in finding


def test_pickles_are_refused_everywhere(house: Callable[..., list[str]]) -> None:
    assert len(house({"checkpoints.py": "import pickle"})) == 1


def test_a_module_outside_every_layer_is_caught(house: Callable[..., list[str]]) -> None:
    (finding,) = house({"utils.py": ""})
    assert "no layer" in finding


def test_the_public_surface_has_at_most_twenty_names_and_all_resolve() -> None:
    assert len(kinestream.__all__) <= 20
    for name in kinestream.__all__:
        assert getattr(kinestream, name) is not None


@pytest.mark.parametrize("heavy", ["torch", "numpy", "numba", "av", "transformers"])
def test_importing_the_package_and_the_command_line_loads_nothing_heavy(heavy: str) -> None:
    code = f"import sys, kinestream, kinestream.cli; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.perf
def test_help_answers_within_three_tenths_of_a_second() -> None:
    assert min(_cpu_seconds(["-m", "kinestream.cli", "--help"]) for _ in range(3)) < 0.3


@pytest.mark.perf
def test_package_imports_within_the_budget() -> None:
    """The package itself is lazy; touching every public name costs at most 1.5 s on top of torch."""
    everything = "import kinestream; [getattr(kinestream, name) for name in kinestream.__all__]"
    assert min(_cpu_seconds(["-c", "import kinestream"]) for _ in range(3)) < 0.3
    torch_alone = min(_cpu_seconds(["-c", "import torch"]) for _ in range(2))
    assert min(_cpu_seconds(["-c", everything]) for _ in range(2)) < torch_alone + 1.5


def _cpu_seconds(arguments: list[str]) -> float:
    """Seconds of processor time that Python takes with these arguments: what an idle machine waits."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
