"""Protocols of text to motion: text, stream and reconstruction."""
