"""The input of every driver: a cell as data, and the arrays of a sequence.

operations.py     the table of pointwise operations
program.py        Program and Step: a cell's equations and their adjoint as data
equations.py      a Program printed as equations
sequence_args.py  the arguments of a sequence: arrays, lengths, direction
plan.py           a step's Programs cut into stages of products and pointwise work
"""
