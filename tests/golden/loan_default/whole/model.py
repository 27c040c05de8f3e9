"""The role `model` of loan_default.ipynb: cell 25."""

from .state import model


def probability_of_default(row):
    return float(model.predict_proba(row)[0, 1])
