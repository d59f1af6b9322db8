"""Prompts as people write them, and prompts that can't be known: `python -m benchmarks.prompts --help`."""
