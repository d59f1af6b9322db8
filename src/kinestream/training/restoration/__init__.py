"""Recipes of what restores motions."""
