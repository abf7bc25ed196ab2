"""LSTM layers and training on NVIDIA GPUs: what `ops` does, on arrays in the GPU's memory."""
