"""NumPy versions of everything that the compiled drivers compute: the oracle of their tests.

driver.py     a step run over a sequence, forward and backward
softmax.py    the likelihood of a class under softmax, and its gradient
gradients.py  rows added by index, sums of squares, scaling
"""
