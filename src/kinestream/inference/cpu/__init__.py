"""Programs on the processor by kernels of our own, for small batches: GEMV and what lies between."""
