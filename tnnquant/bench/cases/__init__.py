"""The operators of ``tnnquant bench kernels``: one decorated class per operator, one file per family.

A new one is a new file here; ``docs/kernels.md`` has an example.
"""
