"""`kinestream inspect`: what it prints, draws and exits with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.broken_motion import BREAKAGES, knee_backwards, sunk
from kinestream.cli import inspect_
from kinestream.io import read_motion, write_motion
from kinestream.io.amass import write_amass_npz
from kinestream.io.bvh import write_bvh
from kinestream.metrics.inspection import CHECKS, body_motion
from kinestream.motion import Motion
from tests.cli.conftest import Run
from tests.io.browser import Page, chromium
from tests.io.walking import crane


@pytest.fixture(scope="module")
def waving(bandai_namco_dir: Path) -> Path:
    """A real recording as it was published."""
    (path,) = bandai_namco_dir.rglob("dataset-2_wave-right-hand_normal_001.bvh")
    return path


@pytest.fixture(scope="module")
def broken(waving: Path) -> Motion:
    """The same on SMPL-22 with a knee bent backwards in frames 20 to 39 and feet in the floor from frame 60 to 69."""
    return sunk(knee_backwards(body_motion(read_motion(waving))[0], 20, 39), 60, 69)


def test_a_real_recording_comes_out_clean_and_says_what_was_done(run: Run, waving: Path) -> None:
    ended = run("inspect", waving)
    assert ended.code == 0
    assert "retargeted from bandai-namco bones to SMPL-22" in ended.out
    assert "nothing found" in ended.out
    assert "penalty 0.0" in ended.out


@pytest.mark.parametrize("name", ["a.npz", "a.npy", "a.bvh"])
def test_lines_name_check_part_frames_seconds_and_severity(run: Run, broken: Motion, name: str) -> None:
    write_motion(broken, name)
    ended = run("inspect", name)
    assert ended.code == 0
    (line,) = (line for line in ended.out.splitlines() if "hyperextension" in line)
    words = r"joint limits +right leg +frames 20-39 +0\.67-1\.33 s +severe +right knee hyperextension, 3\d degrees"
    assert re.search(words, line)
    assert "penetration" in ended.out


def test_people_get_as_many_lines_as_they_can_read(run: Run, broken: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    write_motion(broken, "a.npz")
    total = len(json.loads(run("inspect", "a.npz", "--json").out)["findings"])
    monkeypatch.setattr(inspect_, "MOST_LINES", 2)
    out = run("inspect", "a.npz").out
    assert out.count(" frames ") == 2
    assert f"and {total - 2} more" in out


def test_json_is_one_object_a_file_with_all_checks(run: Run, broken: Motion, waving: Path) -> None:
    write_amass_npz(broken, "a.npz")
    found = json.loads(run("inspect", "a.npz", "--json").out)
    assert set(found["flagged_share"]) == set(found["penalties"]) == set(CHECKS)
    (knee,) = (finding for finding in found["findings"] if finding["check"] == "joint_limits")
    assert (knee["part"], knee["joint"], knee["first"], knee["last"]) == ("right leg", "right_knee", 20, 39)
    assert found["penalty"] == pytest.approx(sum(found["penalties"].values()))
    both = json.loads(run("inspect", "a.npz", waving, "--json").out)
    assert [entry["file"] for entry in both] == ["a.npz", str(waving)]
    assert both[1]["findings"] == []


def test_fail_on_fails_for_the_checks_it_names_only(run: Run, broken: Motion) -> None:
    write_motion(broken, "a.bvh")
    assert run("inspect", "a.bvh", "--fail-on", "skating,self-collision").code == 0
    ended = run("inspect", "a.bvh", "--fail-on", "skating,joint_limits")
    assert ended.code == 1
    assert "joint_limits" in ended.err
    assert "hyperextension" in ended.out
    assert run("inspect", "a.bvh", "--fail-on", "any").code == 1
    wrong = run("inspect", "a.bvh", "--fail-on", "smell")
    assert wrong.code == 2
    assert "skating" in wrong.err


def test_a_skeleton_that_is_no_body_is_told_what_was_left_out(run: Run) -> None:
    write_bvh(crane(40), "crane.bvh")
    ended = run("inspect", "crane.bvh")
    assert ended.code == 0
    assert "no human body" in ended.out
    assert "not checked: skating, floating, self collision, joint limits" in ended.out


@pytest.mark.parametrize(
    ("options", "words"),
    [(["-o", "card.png"], ".html"), (["-o", "no/card.html"], "folder"), (["-o", "d.html"], "folder")],
)
def test_what_cannot_be_drawn_is_said_before_any_work(run: Run, clip_bvh: Path, options: list[str], words: str) -> None:
    Path("d.html").mkdir()
    ended = run("inspect", clip_bvh, *options)
    assert ended.code == 2
    assert words in ended.err
    assert ended.out == ""


def test_cards_of_several_files_are_numbered(run: Run, clip_bvh: Path) -> None:
    ended = run("inspect", clip_bvh, clip_bvh, "-o", "card.html")
    assert ended.code == 0
    assert ended.err.split() == ["card-1.html", "card-2.html"]
    assert sorted(path.name for path in Path().glob("*.html")) == ["card-1.html", "card-2.html"]


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Any]:
    with chromium(chromium_path) as opened:
        yield opened


@pytest.mark.browser
def test_the_card_shows_and_finds_each_problem(run: Run, broken: Motion, browser: Any) -> None:
    write_motion(broken, "a.npz")
    found = json.loads(run("inspect", "a.npz", "-o", "card.html", "--json").out)["findings"]
    page = Page(browser, Path("card.html").resolve())
    page.wait("window.kinestream && kinestream.drawn > 1")
    page.run("kinestream.play(false); kinestream.seek(0); kinestream.draw(); void 0")
    assert page.page.locator("#lanes .lane button").count() == len(found)
    assert page.page.locator("#now").is_hidden()
    assert f"{len(found)} problems" in page.page.text_content("#note")
    knee_bar = page.page.locator("#lanes button[aria-label*=hyperextension]")
    knee_bar.click()
    (knee,) = (finding for finding in found if finding["check"] == "joint_limits")
    assert page.run("kinestream.frame") == knee["worst_frame"]
    page.run("kinestream.draw(); void 0")
    assert "right knee hyperextension" in page.page.text_content("#now")
    ring, track = (page.page.locator(name).first.bounding_box() for name in ("#spots div", "#rail"))
    view = page.page.viewport_size
    assert 0 < ring["x"] < view["width"]
    assert 0 < ring["y"] < view["height"]
    first = track["x"] + track["width"] * 19.5 / (broken.num_frames - 1)
    assert knee_bar.bounding_box()["x"] == pytest.approx(first, abs=1.5)
    page.run(f"kinestream.seek({knee['last'] + 1}); void 0")
    assert "hyperextension" not in (page.page.text_content("#now") or "")
    assert page.troubles == []


def test_every_check_has_a_breakage() -> None:
    assert {breakage.check for breakage in BREAKAGES.values()} == set(CHECKS)
