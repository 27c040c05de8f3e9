"""Functions and constants of loan_default.ipynb that its roles use."""

# cell 11
NUMERIC = ["seniority", "time", "expenses", "income", "assets", "debt", "amount", "price"]
CATEGORICAL = ["home", "records", "job"]


def left_over(df):
    """What remains of the income each month, debt paid off over 100 months."""
    return df["income"] - df["expenses"] - df["debt"] / 100


def prepare(df):
    df = df[NUMERIC + CATEGORICAL].copy()
    df[NUMERIC] = df[NUMERIC].astype(float)
    df[CATEGORICAL] = df[CATEGORICAL].fillna("unknown")
    df["capacity"] = left_over(df) / (df["amount"] / df["time"])
    df["financed"] = df["amount"] / df["price"]
    return df
