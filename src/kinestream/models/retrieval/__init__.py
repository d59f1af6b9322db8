"""MD-Retrieval: music and dance in one space, so that a song finds dances that suit it."""

from kinestream.models.retrieval.config import RetrievalConfig
from kinestream.models.retrieval.loss import RetrievalLoss, symmetric_info_nce
from kinestream.models.retrieval.model import RetrievalModel

__all__ = ["RetrievalConfig", "RetrievalLoss", "RetrievalModel", "symmetric_info_nce"]
