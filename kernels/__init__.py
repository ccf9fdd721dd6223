"""Compiled kernels: arrays in, arrays out; no graph, no blob names, no configuration.

Letters used for dimensions everywhere: ``N`` batch, ``C`` input channels, ``H W`` input size, ``OC`` output channels,
``OH OW`` output size, ``KH KW`` kernel size, ``G`` groups, ``K`` reduction length (``C/G*KH*KW``), ``P`` output
positions (``OH*OW``). int8 values lie in -128..127, weights in -127..127. A scale is real units per int8 step.

Activations lie channels-last in memory, (N, H, W, C): a 1x1 convolution is then a matrix product in place, and
everything else runs over vectors of channels.

* ``target`` picks the instruction path; ``simd`` holds what vectors are emitted with.
* ``tile_f32`` and ``tile_i8`` are the GEMM microkernels.
* ``dot_i8`` sums int8 products; ``direct_i8`` and ``requantize_i8`` round the sums.
* ``pack_*`` set the order of the weights.
* ``program`` runs whole models on all threads with one fork and join.
* ``conv_*``, ``depthwise_*``, ``gemm_*``, ``pool_*`` and ``eltwise_*`` are the operators.

Importing this package imports nothing: each module imports Numba, which costs 0.3-0.5 s, only when it is needed.
"""
