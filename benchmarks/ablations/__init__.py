"""The papers' ablations on the real recordings, at a small equal budget: `python -m benchmarks.ablations --help`."""
