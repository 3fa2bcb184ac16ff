"""Process-wide services that every driver uses. They know nothing of cells, kernels or devices.

rounding.py  ceiling division, and rounding up to a multiple
undo.py      `with` blocks that no interrupt can leave half done
locks.py     the locks of the library, and what a fork does to them
bounded.py   bounded tables of results in memory, and one function that empties them all
cache.py     the folder of compiled code: where it is, which files are trusted, reading and writing them
"""
