"""The compiled driver: vector code for this host, generated from a cell's Programs and built by Numba.

What is generated, from the single instruction upwards:

    host.py        what the host's vector unit is like
    vector.py      pointwise operations on LLVM vectors
    pointwise.py   a Program on the rows of a tile
    tile.py        the register tile, of which all matrix products are made
    native.py      blocks of arguments, counters that threads share, calls by address; Kernel, a compiled function
    packing.py     kernels that lay matrices out for the tile
    product.py     kernels for matrix products of any size
    recurrence.py  kernels of the recurrent loops
    cache.py       generated modules, run from their text
    compiled.py    their machine code, read from the cache folder or compiled

How it is run, from the threads upwards:

    threads.py     the team of threads, whose number changes no bit of a result
    memory.py      arrays whose memory is used again
    passes.py      a list of jobs, recorded once and run on any arrays
    record.py      the passes of a layer: what its forward and backward do, in what order
    weights.py     packed weights kept from call to call; inference with them
    driver.py      the sequence driver: runs the passes on a Sequence
    dense.py       matrix products for dense layers
    elementwise.py a Program over flat arrays: an optimiser's update
    softmax.py     the likelihood of a class under softmax, and its gradient
    ahead.py       all kernels of a cell, to compile them ahead
    gradients.py   rows added by index, sums of squares and scaling, of many gradients at once
"""
