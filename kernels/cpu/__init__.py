"""The CPU driver: vector code for this processor, generated from a cell's Programs and compiled by Numba.

Read the files in this order, from the ground up. Each folder lists its own files.

    runtime/           processor, threads, memory, cached machine code, command lists
    codegen/           generated kernels: vector operations, the matrix tile, products, recurrent loops
    builder.py         builds a command list: lays out matrices, adds commands that copy, pack and multiply them
    layer_shapes.py    the shapes of a layer's forward and backward, and what they cost
    layer_commands.py  builds the command lists of one layer's forward and backward
    packed_weights.py  packed weights that stay in memory between calls, and inference with them
    driver.py          the sequence driver: `forward`, `infer` and `backward` on SequenceArgs
    ahead.py           all kernels of a cell, to compile them before they are needed

These stand next to the sequence driver and use the same runtime:

    dense.py           matrix products of dense layers
    elementwise.py     a Program over flat arrays: an optimiser's update
    softmax.py         negative log-likelihood under softmax, and its gradient
    gradients.py       rows added by index; sums of squares and scaling of many gradients at once
"""
