"""The report's page: everything is inside, every plot is drawn, samples play (headless Chromium)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kinestream.evaluation import Estimate, Figure, Result, Sample
from kinestream.evaluation.charts import histogram, interval_strip, line_plot, ticks
from kinestream.evaluation.findings import clip_figure, without_interval
from kinestream.evaluation.page import report_page
from kinestream.evaluation.result import Curve
from kinestream.evaluation.shown import Shown, worst_and_best
from kinestream.io.viewer import html_page
from tests.io.browser import Page, chromium
from tests.io.walking import walking

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked=1'>"


def a_result() -> Result:
    samples = tuple(
        Sample(f"s{k}", HOSTILE if k == 0 else f"walks {k}", {"mm_distance": 1.0 - 0.1 * k, "length_s": 2.0 + k},
               {"mm_distance": 0.5 + 0.01 * k, "length_s": 3.0})
        for k in range(8)
    )  # fmt: skip
    own = {name: [s.generated[name] for s in samples] for name in ("mm_distance", "length_s")}
    real = {name: [s.real[name] for s in samples] for name in ("mm_distance", "length_s")}
    fid = Figure(
        "fid", "FID", "", "lower", "distance", "3 repeats", Estimate(2.0, 1.5, 2.5, 3), Estimate(1.0, 0.9, 1.1, 20)
    )
    return Result(
        "text",
        {"repeats": 3, "split": "test", "seed": 0},
        {"kinestream": "0.1.0", "commit": None, "began": "now", "seconds": 1.0},
        {"name": "packaged", "kind": "text-to-motion", "sha256": "a" * 64, "configs": {}, "settings": {}},
        {"name": "data", "split": "test", "measured": 8, "left_out": 0, "sha256": "b" * 64},
        {"name": "packaged", "sha256": "c" * 64},
        (fid, *(clip_figure(name, own[name], real[name]) for name in own),
         Figure("latent_s", "Latent", "s", "lower", "time", "none", without_interval(0.01, 5))),
        samples,
        {"fid": (1.5, 2.0, 2.5)},
        {"fid": (Curve("generated", (1.0, 2.0, 3.0), (1.5, 2.0, 2.5)),)},
        ("A note about " + HOSTILE,),
    )  # fmt: skip


def a_page() -> str:
    result = a_result()
    motions = walking(20)
    ranked = worst_and_best("text", result.samples)
    return report_page(result, [Shown(rank, one, html_page(motions, one.prompt)) for rank, one in ranked])


def test_worst_and_best_are_ranked_and_never_twice() -> None:
    ranked = worst_and_best("text", a_result().samples)
    assert [rank for rank, _ in ranked] == ["worst 1", "worst 2", "worst 3", "best 1", "best 2", "best 3"]
    assert [sample.name for _, sample in ranked] == ["s0", "s1", "s2", "s7", "s6", "s5"]
    few = worst_and_best("text", a_result().samples[:3])
    assert [sample.name for _, sample in few] == ["s0", "s2"]


def test_ticks_are_round_numbers_in_the_range() -> None:
    assert ticks(0.0, 1.0) == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(-13.0, 47.0) == [0.0, 20.0, 40.0]
    assert all(2000 <= tick <= 2001 for tick in ticks(2000, 2001))


def test_plots_of_one_value_and_of_equal_values_are_drawn() -> None:
    one = without_interval(3.0, 1)
    for drawn in (
        interval_strip("x", one, None),
        interval_strip("x", without_interval(0.0, 1), without_interval(0.0, 1)),
        histogram("x", "m", [2.0, 2.0], []),
        line_plot("x", "a", "b", [Curve("generated", (1.0,), (0.0,))], one),
    ):
        assert "nan" not in drawn
        assert "inf" not in drawn


def test_the_page_refers_to_nothing_outside_and_keeps_hostile_prompts_text() -> None:
    page = a_page()
    assert "http://" not in page
    assert "https://" not in page
    assert HOSTILE not in page
    assert page.count("<script") == 2


@pytest.fixture(scope="module")
def browser(chromium_path: str) -> Iterator[Any]:
    with chromium(chromium_path) as opened:
        yield opened


@pytest.mark.browser
def test_every_plot_is_drawn_and_a_sample_plays(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(a_page(), encoding="utf-8")
    page = Page(browser, path)
    drawn = page.run(
        """Array.from(document.querySelectorAll("svg")).map(svg => {
             const box = svg.getBoundingClientRect();
             const shapes = Array.from(svg.querySelectorAll(".own, .real"));
             const seen = shapes.filter(shape => {
               const r = shape.getBoundingClientRect();
               return r.width + r.height > 0 && r.left >= box.left - 2 && r.right <= box.right + 2
                 && r.top >= box.top - 2 && r.bottom <= box.bottom + 2;
             });
             return [svg.getAttribute("class"), box.width, box.height, shapes.length, seen.length];
           })"""
    )
    assert [kind for kind, *_ in drawn].count("strip") == 4
    assert [kind for kind, *_ in drawn].count("plot") == 3
    for kind, width, height, shapes, seen in drawn:
        assert width > 50, kind
        assert height > 10, kind
        assert shapes == seen > 0, kind
    assert page.run("document.querySelectorAll('.sample').length") == 6
    page.page.click(".sample >> nth=1")
    frame = page.page.wait_for_selector("iframe").content_frame()
    page.wait("document.querySelector('iframe').contentWindow.kinestream?.drawn > 1")
    assert frame.text_content("#title") == "walks 1"
    page.page.click(".sample >> nth=1 >> button")
    assert page.run("document.querySelectorAll('iframe').length") == 0
    assert page.run("window.hacked === undefined")
    assert page.troubles == []
    assert all(url.startswith(("file:", "about:")) for url in page.requests)
