"""The code that runs on the device, from the single instruction upwards. One kernel serves every cell and function.

device.cuh       instructions of a device that C++ cannot express
pointwise.cuh    pointwise operations that are not operators
block_group.cuh  groups of blocks: their rows, ranks and barrier
tile.cuh         the product tile
sources.cuh      the vectors that products multiply with weights
stage.cuh        a stage at a step: products, and the Program on them
scan.cuh         the kernel: a cell's stages, step after step
launch.cuh       the C interface of one cell's library
interface.h      the declaration of that interface, for the compiler and for cffi
"""
