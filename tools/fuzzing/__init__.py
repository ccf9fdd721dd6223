"""The parts of ``tools/fuzz.py``: what is fuzzed (targets), from what (seeds), how (mutate, worker), under whose eyes
(supervise)."""
