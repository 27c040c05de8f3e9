"""The role `postprocess` of flight_delays.ipynb: cell 36."""

import pandas as pd


def postprocess(p_late):
    """From `p_late` to the answer: cell 36 of flight_delays.ipynb."""
    THRESHOLD = 0.35   # roughly one flight in four gets a warning

    answer = pd.DataFrame({"p_late": p_late, "warn": p_late >= THRESHOLD})
    return answer
