"""Recordings with captions: the grammar, contextual pairs, one item of a build."""
