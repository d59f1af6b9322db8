"""Building blocks of the models: operations, streaming, causal convolution, attention with a cache, noise schedules."""
