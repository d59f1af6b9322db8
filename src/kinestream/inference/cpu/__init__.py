"""Programs of few rows on the processor by kernels of our own."""
