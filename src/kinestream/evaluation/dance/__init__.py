"""The protocol "dance"."""
