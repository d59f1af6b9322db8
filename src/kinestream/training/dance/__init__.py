"""Recipes of music to dance: tokenizer, retrieval, ChoreoLLaMA."""
