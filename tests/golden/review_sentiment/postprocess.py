"""The role `postprocess` of review_sentiment.ipynb: cell 26."""


def postprocess(p):
    """From `p` to the answer: cell 26 of review_sentiment.ipynb."""
    THRESHOLD = 0.5

    label = "great" if p >= THRESHOLD else "other"
    return {"label": label, "score": float(p)}
