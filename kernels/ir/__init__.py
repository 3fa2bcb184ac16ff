"""What every driver is given: a cell as data, and what it is run over.

operations.py     the table of pointwise operations
program.py        Program and Step: a cell's equations and their adjoint as data
equations.py      a Program printed as equations
sequence_args.py  what a step is run over: arrays, lengths, direction
plan.py           a step's Programs cut into stages of products and pointwise work
"""
