"""Building blocks of the models: the streaming protocol, causal convolution, attention with a cache, diffusion schedules."""
