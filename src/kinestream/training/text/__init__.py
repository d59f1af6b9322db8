"""Recipes of text to motion: autoencoder, autoregressive model, evaluator."""
