"""The picture of streams against the time of a step says what was measured."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from benchmarks.engine.plot import curves_of, most_in_time, picture, write


def saved(**streams: dict[str, float]) -> dict[str, object]:
    """Results as the benchmark saves them; p99 in seconds by number of streams."""
    kinds = {
        kind: {"streams": {count: {"step_p99_s": seconds} for count, seconds in steps.items()}}
        for kind, steps in streams.items()
    }
    machine = {"threads": 2, "bandwidth": 45e9}
    return {"date": "2026-11-20", "clock": "wall", "machine": machine, "sizes": {"default": {"baseline": {}, **kinds}}}


RESULTS = saved(exact={"1": 0.04, "2": 0.09, "4": 0.15}, fast={"1": 0.01, "2": 0.02, "16": 0.12, "4": 0.03})


def test_each_mode_has_its_line_in_order() -> None:
    curves = curves_of(RESULTS)
    assert curves["default, exact"] == [(1, 40.0), (2, 90.0), (4, 150.0)]
    assert [streams for streams, _ in curves["default, fast"]] == [1, 2, 4, 16]
    drawn = ElementTree.fromstring(picture(curves, "a <title>"))
    words = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"default, exact", "default, fast", "16", "a <title>", "real time: 133 ms a latent"} <= set(words)
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}circle"))) == 7


def test_streams_in_time_are_counted_up_to_the_first_that_is_late() -> None:
    assert most_in_time([(1, 40.0), (2, 90.0), (4, 150.0), (8, 120.0)]) == 2
    assert most_in_time([(1, 140.0)]) == 0


def test_a_picture_is_written_only_where_streams_were_timed(tmp_path: Path) -> None:
    write(json.loads(json.dumps(saved())), tmp_path / "none.svg")
    write(json.loads(json.dumps(RESULTS)), tmp_path / "images" / "streams.svg")
    assert not (tmp_path / "none.svg").exists()
    assert "2 threads, 45 GB/s, 2026-11-20" in (tmp_path / "images" / "streams.svg").read_text()
