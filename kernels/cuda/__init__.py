"""The compiled driver for GPUs: CUDA C++ from a cell's Programs, built by nvcc and called through cffi.

What runs on the device, from the single instruction upwards; one kernel serves every cell, forward and backward:

    device.cuh     what a device has and C++ has no words for
    pointwise.cuh  pointwise operations that are not operators
    team.cuh       teams of blocks, their rows, and where they meet
    tile.cuh       the product tile
    sources.cuh    what products multiply weights with
    stage.cuh      a stage at a step: products, and the Program on them
    walk.cuh       the kernel: a cell's stages, step after step
    launch.cuh     the C interface of one cell's library
    interface.h    that interface, for the compiler and for cffi

What is on the host:

    emit.py        a step's Programs as C++
    build.py       libraries: built by nvcc, kept in the cache folder, loaded
    arrays.py      the device's arrays, through whichever library they are of; where values lie in them
    tiles.py       the product tiles that there are, and which precision is asked for
    regime.py      how work is shared out among blocks, by size: which of the ways there are a layer runs
    walks.py       the kernel run over a layer's sequence, or over those of several ways at once
    forward.py     a layer's forward, ready to be run
    backward.py    a layer's backward, ready to be run
    wavefront.py   the order in which a stack of layers is run
    driver.py      the sequence driver: one sequence, the directions of a layer, a stack of layers

Large products over all steps are the array library's. Nothing here imports it: it is taken from the arrays given.
"""
