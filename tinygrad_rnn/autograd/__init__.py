"""The automatic differentiation: what is recorded, and how gradients are computed from it.

tape.py        nodes, and the backward pass
grad_modes.py  `no_grad` and its like
cotangent.py   what a VJP returns, checked and summed down
views.py       tensors that share their numbers with another
primitive.py   how a primitive is defined and called
primitives/    the primitives, each with its VJPs
functional.py  `grad`
gradcheck.py   gradients compared with finite differences
anomaly.py     `detect_anomaly`
"""
