"""Data sets: importers, captions, splits, the build, and what training reads."""
