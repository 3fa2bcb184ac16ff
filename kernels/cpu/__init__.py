"""The compiled driver: vector code for this host, generated from a cell's Programs and built by Numba.

    host.py        what the host's vector unit is like
    vector.py      pointwise operations on LLVM vectors
    pointwise.py   a Program on the rows of a tile
    tile.py        the register tile, of which all matrix products are made
    product.py     matrix products of any size
    dense.py       the same on threads, for dense layers too
    plan.py        a step's Programs cut into stages of products and pointwise work
    recurrence.py  the text of the recurrent loops
    driver.py      the sequence driver: packs, multiplies, calls the loops
    memory.py      arrays whose memory is used again
    cache.py       where generated modules and their machine code are kept
    threads.py     threads, whose number changes no bit of a result
"""
