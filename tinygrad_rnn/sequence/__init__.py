"""A whole sequence as one node of the tape.

fused.py       the node; a sequence driver computes its forward and backward
unrolled.py    the same computation as ordinary primitives, for a backward that is recorded
ctc.py         connectionist temporal classification, as a node and as ordinary primitives
"""
