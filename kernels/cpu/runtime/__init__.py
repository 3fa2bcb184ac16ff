"""What compiled code runs on: the processor, threads, memory, and the cache of machine code."""
