"""The role `postprocess` of loan_default.ipynb: cell 26."""

from .state import cutoff

REVIEW_BAND = 0.10    # this close above the cutoff a person decides


def decide(p):
    if p < cutoff:
        return "approve"
    return "review" if p < cutoff + REVIEW_BAND else "decline"


def postprocess(p):
    return {"decision": decide(p), "probability": round(p, 4)}
