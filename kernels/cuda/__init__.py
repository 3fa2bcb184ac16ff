"""The compiled driver for GPUs: CUDA C++ from a cell's Programs, built by nvcc and called through cffi.

    device/        the code that runs on the device
    emit.py        a step's Programs as C++
    build.py       libraries: built by nvcc, stored in the cache folder, loaded
    arrays.py      the device's arrays, of any library, and the operands in them
    tiles.py       the product tiles, and the requested precision of products
    strategy.py    how blocks share the work: one of four strategies, by size
    scans.py       launches of the kernel over one sequence, or over several at once
    forward.py     a layer's forward, ready to be run
    backward.py    a layer's backward, ready to be run
    wavefront.py   the order in which a stack of layers is run
    dense.py       softmax and sums of whole arrays, by NumPy's protocol
    driver.py      the sequence driver: one sequence, the directions of a layer, a stack of layers

The array library computes the large products over all steps. Nothing here imports it: `arrays.namespace` finds it by
the type of a given array.
"""
