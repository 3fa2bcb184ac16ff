"""What runs on the device, from the single instruction upwards; one kernel serves every cell, forward and backward:

device.cuh     what a device has and C++ has no words for
pointwise.cuh  pointwise operations that are not operators
block_group.cuh       teams of blocks, their rows, and where they meet
tile.cuh       the product tile
sources.cuh    what products multiply weights with
stage.cuh      a stage at a step: products, and the Program on them
scan.cuh       the kernel: a cell's stages, step after step
launch.cuh     the C interface of one cell's library
interface.h    that interface, for the compiler and for cffi
"""
