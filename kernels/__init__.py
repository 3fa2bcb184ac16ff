"""Sequence kernels for recurrent cells: a cell's traced `Program` in, whole-sequence forward and backward out.

Installed as `tinygrad_rnn.kernels`. It imports nothing of `tinygrad_rnn` outside itself: arrays come in and
go out, and it knows of no tensor, tape or layer.

    pointwise.py   the operations a Program is made of, and what each means in NumPy
    program.py     Program and Step: a cell as data
    reference.py   the sequence driver in NumPy, the oracle for every compiled one
"""
