"""The code generator of the CPU driver, from the single instruction upwards.

vector.py      pointwise operations on LLVM vectors
native.py      argument blocks, atomic words, the barrier, calls by address; Kernel: a compiled function
tile.py        the register tile, from which all matrix products are made
pointwise.py   a Program on the rows of a tile
packing.py     kernels that lay matrices out for the tile
product.py     kernels for matrix products of any size
recurrence.py  kernels for the recurrent loops of a cell
"""
