"""The role `preprocess` of loan_default.ipynb: cell 24."""

import pandas as pd

from .helpers import CATEGORICAL, NUMERIC, prepare


def preprocess(application):
    """One application as a row of features; what the form left open is missing, not zero."""
    row = pd.DataFrame([application], columns=NUMERIC + CATEGORICAL)
    return prepare(row)
