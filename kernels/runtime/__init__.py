"""What drivers of every kind need of the process that they run in.

locks.py    the locks of the library, and what a fork does to them
undo.py     `with` blocks that no interrupt can leave half done
bounded.py  tables in memory with a bound
cache.py    the folder of compiled code, and what of it is trusted
"""
