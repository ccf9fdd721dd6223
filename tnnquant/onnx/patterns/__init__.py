"""Groups of layers for which TNN has one that is faster, or better in int8; found by which layer reads what, in any
order."""
