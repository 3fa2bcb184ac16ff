"""What every driver is given: a cell as data, and what it is run over.

operations.py     the operations that a Program is made of
program.py        Program and Step: a cell's equations and their adjoint as data
sequence_args.py  what a step is run over: arrays, lengths, direction
plan.py           a step's Programs cut into stages of products and pointwise work
"""
