"""What README promises works as written: its Python runs, its commands parse, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest

from kinestream.cli import build_parser

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = (
    "README.md",
    "CHANGELOG.md",
    *(str(p.relative_to(REPOSITORY)) for p in sorted(REPOSITORY.glob("docs/**/*.md"))),
)


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every kinestream command in README's shell blocks, without pipes and redirections."""
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    found = [re.search(r"(?:^|\| )(kinestream [^|>#]*)", line) for line in lines]
    return [match.group(1).strip() for match in found if match]


def test_readme_has_python_and_commands_to_check() -> None:
    assert blocks("python")
    assert len(commands()) >= 10


def test_readme_python_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert list(tmp_path.iterdir()), "the example writes a file"


@pytest.mark.parametrize("command", commands())
def test_readme_commands_parse(command: str) -> None:
    arguments = build_parser().parse_args(shlex.split(command)[1:])
    assert callable(arguments.run)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    path = REPOSITORY / page
    links = re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


def test_make_targets_named_in_readme_exist() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("page", ["add_a_data_set.md"])
def test_a_worked_example_on_a_page_runs_as_written(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from kinestream.data import build

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "SOURCES", dict(build.SOURCES))
    text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        Path("page.py").write_text(block, encoding="utf-8")
        runpy.run_path("page.py", run_name="page")
    said = capsys.readouterr().out
    assert "'train': {'recordings': 1" in said
    assert "no caption" in said


def test_readme_lines_fit_a_screen() -> None:
    assert [line for line in README.splitlines() if len(line) >= 120] == []


def test_every_cell_of_the_table_of_peers_has_a_source() -> None:
    table = README[README.index("<table>") : README.index("</table>")]
    cells = re.findall(r"<td>(.*)</td>", table)
    assert len(cells) == 7 * len(re.findall(r"^<th>[a-z ]+</th>$", table, flags=re.MULTILINE)[1:])
    listed = set(re.findall(r"<sup>(\d+)</sup> \[", README))
    for cell in cells:
        own = re.search(r'<a href="([^"#]+)', cell)
        number = re.search(r"<sup>(\d+)</sup>", cell)
        assert (own and (REPOSITORY / own.group(1)).exists()) or (number and number.group(1) in listed), cell
