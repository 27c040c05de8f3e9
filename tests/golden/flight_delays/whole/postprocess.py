"""The role `postprocess` of flight_delays.ipynb: cell 36."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import numpy as np


def postprocess(p_late: np.ndarray) -> pd.DataFrame:
    """From `p_late` to the answer: cell 36 of flight_delays.ipynb.

    p_late: ndarray of float64, one for each row
    the answer: DataFrame, rows x 2 columns (p_late, warn)
    """
    THRESHOLD = 0.35   # roughly one flight in four gets a warning

    answer = pd.DataFrame({"p_late": p_late, "warn": p_late >= THRESHOLD})
    return answer
