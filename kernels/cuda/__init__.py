"""The compiled driver for GPUs: CUDA C++ from a cell's Programs, built by nvcc and called through cffi.

    device/        what runs on the device
    emit.py        a step's Programs as C++
    build.py       libraries: built by nvcc, kept in the cache folder, loaded
    arrays.py      the device's arrays, through whichever library they are of; where values lie in them
    tiles.py       the product tiles that there are, and which precision is asked for
    strategy.py    how work is shared out among blocks, by size: which of the ways there are a layer runs
    scans.py       the kernel run over a layer's sequence, or over those of several ways at once
    forward.py     a layer's forward, ready to be run
    backward.py    a layer's backward, ready to be run
    wavefront.py   the order in which a stack of layers is run
    dense.py       softmax and sums of whole arrays, by NumPy's protocol
    driver.py      the sequence driver: one sequence, the directions of a layer, a stack of layers

Large products over all steps are the array library's. Nothing here imports it: it is taken from the arrays given.
"""
