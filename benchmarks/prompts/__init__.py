"""What comes of prompts as people write them, and of those that can't be known: `python -m benchmarks.prompts --help`."""
