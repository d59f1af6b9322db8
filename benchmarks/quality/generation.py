"""Streams are generated as evaluations generate them: side by side, in processes, kept in parts."""

from kinestream.evaluation.generation import OPTIONS, Acted, Job, Studio, Wish, act

__all__ = ["OPTIONS", "Acted", "Job", "Studio", "Wish", "act"]
