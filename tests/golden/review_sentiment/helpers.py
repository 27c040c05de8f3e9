"""Functions and constants of review_sentiment.ipynb that its roles use."""

import html
import re


# cell 11
def clean(text):
    """Lower case, without HTML and with single spaces."""
    text = html.unescape(text)
    text = re.sub(r"<[^>]+>", " ", text)
    return re.sub(r"\s+", " ", text).strip().lower()
