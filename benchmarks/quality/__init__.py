"""How good the text-to-motion model is, on recordings that it never saw: `python -m benchmarks.quality --help`."""
