"""The role `postprocess` of review_sentiment.ipynb: cell 26."""


def postprocess(p):
    """From `p` to the answer, as cell 26 of review_sentiment.ipynb does."""
    THRESHOLD = 0.5

    label = "great" if p >= THRESHOLD else "other"
    return {"label": label, "score": float(p)}
