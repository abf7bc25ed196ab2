"""lstmfast on a GPU: held against the CPU, stressed, and timed beside cuDNN; see README.md."""
