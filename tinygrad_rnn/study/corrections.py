"""Slips in lecture notes on recurrent networks, in own words, with the right equation. The end of the page."""

from __future__ import annotations

_BACKWARD = (
    (
        "The gradient of the state is W^O times the gradient of the output.",
        "With vectors as columns the matrix is transposed: dL/dH = (W^O)^T dL/dO.",
    ),
    (
        "In the chain rule for W^O the second factor is dL/dW^O, the unknown itself.",
        "It is dO/dW^O: dL/dW^O = dL/dO H^T, an outer product.",
    ),
    (
        "The gradient of an early state starts with W^O, and columns and rows change places between two equations.",
        "It starts with dL/dO, as a row: dL/dH_113 = dL/dO W^O D_115 W^H D_114 W^H, where D_t is diagonal.",
    ),
    (
        "f' is taken at the state H_t.",
        "It is taken at the pre-activation: D_t = diag f'(a_t), a_t = W^H H_(t-1) + W^X X_t + b. For tanh that is "
        "1 - H_t^2, a function of H_t, but not tanh' at H_t.",
    ),
    (
        "One factor f'(H_115) W^H is repeated 65 times.",
        "There are 65 factors D_t W^H, t = 115 to 51. W^H is the same in all; D_t differs.",
    ),
    (
        "With the weight 1.1 the gradient of step 50 is 117, with 0.9 it is .005.",
        "1.1^65 = 490 and 0.9^65 = .00106; the stated numbers are for 50 steps. They are factors before dL/dH_115.",
    ),
    (
        "dL/dH_T explodes or vanishes, T being the last step.",
        "No recurrent matrix multiplies the gradient of the last state. Those of early states explode or vanish.",
    ),
    (
        "The eigenvalue, or the scalar weight, is above or below 1.",
        "The modulus counts: a weight of -2 is below 1 and explodes, a weight of -1 does neither. f' counts too.",
    ),
    (
        "A largest singular value above 1 gives an explosion.",
        "It only allows one; below 1 (with f' up to 1) the gradient vanishes for certain.",
    ),
    (
        "The backward pass multiplies by W in each step.",
        "It multiplies by W_hh^T D_t. The weights of the input take no part in it.",
    ),
    (
        "The gradient of W^H has the terms 1 to T - 1, that of W^I the terms 1 to T.",
        "W^H is used in all T steps, the first with H_0. Where H_0 = 0 the first term is 0, and the terms 2 to T stay.",
    ),
    (
        "With one step, W^H is absent or the identity.",
        "Absent, or any matrix if H_0 = 0. The identity would add H_0 to the pre-activation.",
    ),
    (
        "Clipping divides the gradient by its norm.",
        "It multiplies by limit / norm, and only where the norm is above the limit.",
    ),
)
_FORWARD = (
    (
        "From the characters 1 to t the model predicts character t.",
        "It predicts character t + 1.",
    ),
    (
        "y_t = W_hy h_t is the probability of each character.",
        "y_t is a vector of scores; softmax(y_t) are the probabilities. The biases are left out: "
        "h_t = tanh(W_hh h_(t-1) + W_xh x_t + b_h), y_t = W_hy h_t + b_y.",
    ),
    (
        "The four gates are given without the two equations that use them.",
        "c_t = f * c_(t-1) + i * g and h_t = o * tanh(c_t), elementwise; the gates have biases.",
    ),
    (
        "The forget gate says whether to erase the cell.",
        "It says how much stays: f = 1 keeps, f = 0 erases.",
    ),
    (
        "g adds -1 or 1, and gates lie in closed intervals; in one place tanh gives values from 1 to 1.",
        "i * g is any number in (-1, 1): sigmoid gives (0, 1), tanh (-1, 1), ends excluded.",
    ),
    (
        "The indices of the previous state and cell have lost their minus sign.",
        "The forget gate reads h_(t-1) and x_t, and multiplies c_(t-1).",
    ),
    (
        "One weight matrix of the input is W^X in the recurrence and W^I in the gradients.",
        "They are the same matrix.",
    ),
    (
        "Three stacked networks have three weights.",
        "Each layer has a matrix for its input, one for its state, and a bias; only layer 1 reads x.",
    ),
    (
        "The two directions of a bidirectional network are stacked.",
        "Both read the input x itself, side by side; neither reads the other. The states of a step are concatenated.",
    ),
    (
        "A translation model encodes many to one, and decodes with the many-to-one network.",
        "The decoder is one to many.",
    ),
    (
        "For a caption, the weight matrix of the image network's last layer becomes the state h_0.",
        "The output of that layer does, v: h_0 = W v, or W v is added to the pre-activation.",
    ),
    (
        "Back-propagation through time is described as training on one chunk after the other.",
        "That is truncated back-propagation; the whole algorithm goes through the whole sequence. The chunks are parts "
        "of one sequence in order, not a minibatch.",
    ),
    (
        "Elman's network has no true recurrence.",
        "h_t depends on h_(t-1) as in any recurrent network; only the gradient stops after one step.",
    ),
    (
        "A recurrent network cannot be longer than about 25 steps.",
        "25 is a usual chunk of the gradient. The state goes on, and memory allows thousands of steps.",
    ),
)


def _table(title: str, rows: tuple[tuple[str, str], ...]) -> str:
    lines = [f"| {title} | right |", "| --- | --- |", *(f"| {slip} | {right} |" for slip, right in rows)]
    return "\n".join(lines).replace("*", "\\*").replace("_", "\\_")


CORRECTIONS = "\n\n".join(
    [
        "Equations and sentences that stand in lecture notes and are wrong, each beside the right one. W^H, W^X and "
        "W^O are the weights of the state, the input and the output.",
        _table("slip in a gradient", _BACKWARD),
        _table("slip in the network", _FORWARD),
    ]
)
"""The list as Markdown."""
