"""Building blocks of the models: streaming protocol, causal convolution, attention with a cache, noise schedules."""
