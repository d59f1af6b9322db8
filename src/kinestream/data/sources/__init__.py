"""Importers: one module per dataset lists its recordings with their labels and reads each as a Motion."""

from kinestream.data.sources.recording import Recording, Reject, Segment, Source, SourceListing, TextSource

__all__ = ["Recording", "Reject", "Segment", "Source", "SourceListing", "TextSource"]
