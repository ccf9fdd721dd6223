"""Is everything in order on this machine? What ``tnnquant doctor`` and ``tnnquant warmup`` do.

:mod:`~tnnquant.health.specimen` makes small networks, :mod:`~tnnquant.health.selftest` runs their int8 kernels and
compares with plain NumPy, :mod:`~tnnquant.health.doctor` looks at the machine and has every instruction path tested in
a process of its own, :mod:`~tnnquant.health.warmup` has the kernels compiled.
"""
