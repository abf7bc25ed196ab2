"""Kernels for the GPU, in Numba: ordinary Python on numbers and pointers, one family in each file.

The gate formulas come from `lstmfast.kernels.cell`, as on the CPU. Each file has factories that
return a `Kernel`; `catalogue` lists all that are ever launched.
"""
