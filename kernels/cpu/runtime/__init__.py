"""The services of the CPU driver for compiled code: processor, machine code, memory, threads, command lists.

host.py          the vector unit of this processor
compiled.py      the machine code of a generated function: read from the cache folder, or compiled and stored there
cache.py         generated modules: run from their text, and named by its hash
memory.py        arrays in memory blocks that are reused
threads.py       the thread team; its size changes no bit of a result
command_list.py  a list of kernel calls, built once for some shapes and run on any arrays of these shapes
"""
