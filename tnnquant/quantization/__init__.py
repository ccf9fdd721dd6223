"""From statistics to scales and int8 weights: the plan, calibration, and statistics gathered in parts."""
