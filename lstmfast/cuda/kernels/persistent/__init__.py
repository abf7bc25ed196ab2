"""Kernels that stay on the GPU for a whole sequence, the weights in registers and shared memory."""
