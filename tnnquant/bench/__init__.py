"""Measurements for people: of kernels, of a model's latency, of its accuracy.

``operators`` says what an operator of the kernel benchmark is, ``cases`` holds one entry per operator, ``kernels``
checks and times them, ``custom`` brings in a user's own kernel, ``assembly`` reads what the compiler made of it;
``machine`` and ``timing`` measure the ceilings and the clock.
"""
