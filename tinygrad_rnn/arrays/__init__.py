"""The code that knows one kind of array from another: devices, dtypes, conversions, random numbers, files of arrays.

box.py          Box: an array, and the node of the tape that made it
coercion.py     what is accepted where a tensor belongs, as an array
device.py       the CPU and GPUs: where arrays are, and how they go from one to the other
error_state.py  NumPy's floating-point error state, kept away from the library's arithmetic
random.py       the stream of random numbers
storage.py      arrays in safetensors files
writing.py      atomic writes of files
"""
