"""Seconds for a unit of what there is to do (:func:`tnnquant.pipeline.duration.amounts`), by recipe and
stage, and the share of a stage that runs side by side on more cores.

Written by ``python tools/pace.py fit``: measure again instead of editing.
"""

#: Seconds of a process before the run begins.
PROCESS = 0.5
COSTS: dict[str, dict[str, dict[str, float]]] = {
    "tnn": {
        "start": {
            "model": 0.201, "scales": 0.00285, "sets": 0.087, "parallel": 0.0,
        },
        "ranges": {
            "pictures": 0.00337, "runs": 0.0165, "values": 0.000633, "parallel": 0.0,
        },
        "weights": {
            "model": 0.01, "scales": 0.00303, "weights": 0.00277, "parallel": 0.0,
        },
        "verdict": {
            "pictures": 0.0028, "runs": 0.00119, "values": 0.00153, "parallel": 0.0,
        },
        "verdict, second model": {
            "runs": 0.00165, "values": 0.000904, "parallel": 0.0,
        },
        "end": {
            "model": 0.0609, "scales": 0.00408, "sets": 0.0192, "parallel": 0.0,
        },
    },
    "fast": {
        "start": {
            "model": 0.207, "scales": 0.00202, "sets": 0.244, "parallel": 0.09,
        },
        "reading": {
            "inputs": 0.0155, "model": 0.0326, "parallel": 0.24,
        },
        "preparing": {
            "model": 0.0425, "scales": 0.0293, "parallel": 0.03,
        },
        "ranges": {
            "scales": 0.0133, "sets": 0.526, "values": 0.00401, "parallel": 0.03,
        },
        "scales, all": {
            "sets": 0.874, "weights": 0.0556, "parallel": 0.1,
        },
        "weights": {
            "factors": 0.0303, "layers": 0.638, "rounding": 0.194, "values": 0.00213, "parallel": 0.0,
        },
        "verdict": {
            "pictures": 0.00299, "runs": 0.0163, "values": 0.00134, "parallel": 0.0,
        },
        "verdict, second model": {
            "runs": 0.0149, "parallel": 0.0,
        },
        "end": {
            "model": 0.0253, "scales": 0.00191, "sets": 0.0963, "weights": 0.00336, "parallel": 0.0,
        },
    },
    "best": {
        "start": {
            "layers": 0.00427, "model": 0.235, "scales": 0.00137, "sets": 0.179, "parallel": 0.0,
        },
        "reading": {
            "inputs": 0.0141, "model": 0.037, "parallel": 0.09,
        },
        "preparing": {
            "runs": 0.1, "sets": 0.0323, "parallel": 0.04,
        },
        "ranges": {
            "scales": 0.0104, "sets": 0.584, "values": 0.00497, "parallel": 0.06,
        },
        "scales": {
            "scales": 0.0112, "sets": 1.21, "weights": 0.101, "parallel": 0.0,
        },
        "fp32 layers": {
            "model": 0.0289, "runs": 0.0205, "parallel": 0.31,
        },
        "scales, trial": {
            "sets": 0.136, "weights": 0.0104, "parallel": 0.0,
        },
        "weights, trial": {
            "factors": 0.000918, "layers": 0.789, "rounding": 0.32, "values": 0.000223, "parallel": 0.0,
        },
        "ranges, others": {
            "runs": 0.0256, "sets": 0.296, "values": 0.00258, "weights": 0.0738, "parallel": 0.0,
        },
        "scales, all": {
            "layers": 0.255, "sets": 0.0982, "weights": 0.18, "parallel": 0.0,
        },
        "weights": {
            "layers": 0.919, "pictures": 0.00351, "rounding": 0.431, "parallel": 0.0,
        },
        "verdict": {
            "runs": 0.0383, "parallel": 0.28,
        },
        "verdict, second model": {
            "runs": 0.0164, "values": 0.000178, "parallel": 0.41,
        },
        "end": {
            "model": 0.0348, "scales": 9.54e-05, "sets": 0.0627, "weights": 0.00534, "parallel": 0.0,
        },
    },
    "tnn, searching": {
        "start": {
            "layers": 0.274, "model": 0.113, "scales": 0.0056, "sets": 0.00511,
        },
        "ranges": {
            "pictures": 0.00356, "runs": 0.0193, "values": 0.000556,
        },
        "histograms": {
            "pictures": 0.00223, "runs": 0.00697, "values": 0.00395,
        },
        "weights": {
            "scales": 0.0904, "sets": 0.0743,
        },
        "verdict": {
            "pictures": 0.00566, "values": 0.00233,
        },
        "verdict, second model": {
            "runs": 0.00663, "values": 0.000483,
        },
        "end": {
            "layers": 0.0279, "model": 0.0704, "scales": 0.00553,
        },
    },
}
