"""Compiled kernels: arrays in, arrays out; no graph, no blob names, no configuration.

Letters used for dimensions everywhere: ``N`` batch, ``C`` input channels, ``H W`` input size, ``OC`` output channels,
``OH OW`` output size, ``KH KW`` kernel size, ``G`` groups, ``K`` reduction length (``C/G*KH*KW``), ``P`` output
positions (``OH*OW``). int8 values lie in -128..127, weights in -127..127. A scale is real units per int8 step.

Importing this package imports nothing: each module imports Numba, which costs 0.3-0.5 s, only when it is needed.
"""
