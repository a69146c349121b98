"""Covariance propagation: a bound of the network that carries a matrix per frequency, not just a number.

Let d be the difference of two runs of the network. For the tensors that are live at some point, stacked,
and a torus of positions that holds their windows, Hermitian matrices X(omega) >= 0 are *valid* where

    sum over omega of d(omega)* X(omega)^+ d(omega)  <=  |difference of the inputs|^2

for every pair of inputs (with the unitary Fourier transform, and d in the range of X). The identity is valid
at the input, and whatever is above a valid X is. Each step of a `Program` makes a valid X of a valid X; at
the end the largest eigenvalue is the square of a Lipschitz constant.

What is computed:

    steps       what a network is made of here: linear maps, activations, gains, functionals
    ranges      what entries are known to be in, for the slopes of activations
    lowering    the steps of a graph's nodes, one family of operators per module
    program     steps in order, with their tori and what is live after each
    plan        what a pass costs, and where it is made coarser

How a valid X becomes another one, with and without a proof of rounding:

    torus       frequencies, transforms of kernels, aliases
    symbols     linear maps at each frequency
    blocks      matrices by pairs of fields, and what takes in their errors
    quadratic   what activations add, before it is multiplied out
    covariance  X, of blocks and at most one such product
    mapping, nonlinear, functionals
                one step: X of linear maps; of activations and gains; of sums over a window
    levels      the largest eigenvalue; what is above X and constant over frequencies
    groups      fields that are bounded independently of each other
    recursion   all steps of a program
    window      entries in place of channels: leaving the torus

Which bound is the least:

    multipliers the free diagonal of each activation: greedy, or found by a search
    search      better multipliers, on a small torus and in single precision: nothing that is proven
    attempts    several ways to the bound of one program
    route       the bound of a run of segments, and which runs are worth it
"""
