"""The automatic differentiation: what is recorded, and how gradients are computed from it.

tape.py        nodes, and the backward pass
vjp.py         the vector-Jacobian products of one node, made to fit its parents
accumulate.py  cotangents and gradients, added up
hooks.py       a node's gradient and hooks
grad_modes.py  `no_grad` and its like
views.py       tensors that share their numbers with another
primitive.py   how a primitive is defined and called
promotion.py   arguments and results of primitives made to agree in dtype and device
primitives/    the primitives, each with its VJPs
functional.py  `grad`
gradcheck.py   gradients compared with finite differences
anomaly.py     `detect_anomaly`
"""
