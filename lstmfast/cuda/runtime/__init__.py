"""The GPU itself: kernels compiled and launched, memory, streams, arrays, products of matrices."""
