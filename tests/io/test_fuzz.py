"""A few hundred damaged files in each test run; `benchmarks.fuzz_parsers` does the same with tens of thousands."""

from __future__ import annotations

import pytest

from benchmarks.fuzz_parsers import Parser, fuzz, parsers

TABLE = parsers()


@pytest.mark.parametrize("parser", TABLE, ids=[parser.name for parser in TABLE])
def test_damaged_files_are_read_soundly_or_refused_in_one_line(parser: Parser) -> None:
    failures = [failure for _, failure in fuzz([parser], mutations=60, seed=1, seconds=20.0) if failure]
    assert not failures, [f"{failure.number}: {failure.problem}" for failure in failures]


def test_the_bench_notices_a_parser_that_breaks() -> None:
    parser = Parser("breaks", ".txt", lambda path: int(path.read_text(errors="replace")), (b"not a number",))
    assert all(failure for _, failure in fuzz([parser], mutations=5, seed=0))
