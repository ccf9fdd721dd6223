"""Seconds for a unit of what there is to do (:func:`tnnquant.pipeline.duration.amounts`), by recipe and
stage, and the share of a stage that runs side by side on more cores.

Written by ``python tools/pace.py fit``: measure again instead of editing.
"""

#: Seconds of a process before the run begins.
PROCESS = 0.5
COSTS: dict[str, dict[str, dict[str, float]]] = {
    "tnn": {
        "start": {
            "layers": 0.0779, "model": 0.104, "scales": 0.011, "sets": 0.0195, "weights": 0.0216, "parallel": 0.15,
        },
        "ranges": {
            "runs": 0.000355, "values": 0.00263, "parallel": 0.4,
        },
        "weights": {
            "model": 0.0048, "scales": 0.00392, "weights": 0.012, "parallel": 0.25,
        },
        "verdict": {
            "values": 0.00202, "parallel": 0.0,
        },
        "verdict, second model": {
            "runs": 0.00141, "values": 0.000924, "parallel": 0.05,
        },
        "end": {
            "model": 0.0464, "scales": 0.0064, "sets": 0.0779, "parallel": 0.31,
        },
    },
    "tnn, searching": {
        "start": {
            "layers": 0.172, "model": 0.056, "scales": 0.00271, "sets": 0.244, "weights": 0.0109, "parallel": 0.06,
        },
        "ranges": {
            "runs": 0.00884, "values": 0.00157, "parallel": 0.39,
        },
        "histograms": {
            "values": 0.00408, "parallel": 0.97,
        },
        "weights": {
            "layers": 0.163, "model": 0.0316, "scales": 0.022, "sets": 0.244, "weights": 0.127, "parallel": 0.92,
        },
        "verdict": {
            "values": 0.00259, "parallel": 0.25,
        },
        "verdict, second model": {
            "runs": 0.000634, "values": 0.000913, "parallel": 0.21,
        },
        "end": {
            "layers": 0.057, "model": 0.0377, "scales": 0.00299, "sets": 0.027, "weights": 0.0148, "parallel": 0.05,
        },
    },
    "fast": {
        "start": {
            "model": 0.242, "sets": 0.248, "parallel": 0.0,
        },
        "reading": {
            "inputs": 0.0153, "model": 0.0221, "parallel": 0.17,
        },
        "preparing": {
            "model": 0.1, "scales": 0.0281, "parallel": 0.0,
        },
        "ranges": {
            "layers": 0.0415, "runs": 0.00275, "scales": 0.00994, "sets": 0.686, "values": 0.000692, "weights": 0.0773,
            "parallel": 0.0,
        },
        "scales, all": {
            "sets": 0.802, "weights": 0.0528, "parallel": 0.06,
        },
        "weights": {
            "layers": 0.0421, "model": 0.0438, "pictures": 0.00338, "rounding": 0.567, "sums": 0.00183, "parallel":
            0.27,
        },
        "verdict": {
            "values": 0.00328, "parallel": 0.2,
        },
        "verdict, second model": {
            "runs": 0.0089, "values": 0.00119, "parallel": 0.25,
        },
        "end": {
            "layers": 0.064, "model": 0.0233, "scales": 0.000277, "sets": 0.139, "weights": 0.00331, "parallel": 0.04,
        },
    },
    "best": {
        "start": {
            "model": 0.365, "sets": 0.294, "parallel": 0.3,
        },
        "reading": {
            "inputs": 0.0188, "model": 0.0374, "parallel": 0.58,
        },
        "preparing": {
            "runs": 0.148, "parallel": 0.68,
        },
        "ranges": {
            "model": 0.0855, "sets": 0.907, "values": 0.00513, "parallel": 0.75,
        },
        "scales": {
            "layers": 0.388, "model": 0.113, "scales": 0.0102, "sets": 0.878, "weights": 0.0634, "parallel": 0.52,
        },
        "fp32 layers": {
            "model": 0.17, "runs": 0.016, "parallel": 0.96,
        },
        "scales, trial": {
            "sets": 0.174, "weights": 0.0118, "parallel": 0.35,
        },
        "weights, trial": {
            "pictures": 0.031, "rounding": 0.357, "parallel": 0.7,
        },
        "ranges, others": {
            "runs": 0.0521, "sets": 0.334, "weights": 0.1, "parallel": 0.53,
        },
        "scales, all": {
            "scales": 0.0134, "weights": 0.205, "parallel": 0.59,
        },
        "weights": {
            "pictures": 0.0283, "rounding": 0.36, "parallel": 0.33,
        },
        "verdict": {
            "runs": 0.0529, "parallel": 0.51,
        },
        "verdict, second model": {
            "runs": 0.0231, "values": 7.21e-05, "parallel": 0.52,
        },
        "end": {
            "model": 0.0872, "sets": 0.064, "parallel": 0.36,
        },
    },
}
