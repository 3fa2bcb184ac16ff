"""Process-wide services that every driver uses. They do not depend on cells, kernels or devices.

rounding.py  ceiling division, and rounding up to a multiple
undo.py      `with` blocks that no interrupt can leave half done
locks.py     the locks of the library, and their renewal at a fork
bounded.py   bounded tables of results in memory, and one function that empties them all
cache.py     the folder of compiled code: its place, the trust in its files, reading and writing them
"""
