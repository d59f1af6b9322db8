"""The models, one package each (config, model, loss). Siblings never import each other."""
