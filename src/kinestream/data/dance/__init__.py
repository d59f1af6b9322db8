"""Dances with their music: clocks, floors, windows, references."""
