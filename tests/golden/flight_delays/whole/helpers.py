"""Functions and constants of flight_delays.ipynb that its roles use."""

# cell 20
NUMERIC = ["distance", "temp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib", "hour", "weekday"]
CATEGORICAL = ["carrier", "origin", "dest"]


# cell 21
def add_features(df):
    """Clock hour and weekday from the schedule; no gust reported means no gust."""
    df = df.copy()
    df["hour"] = df["sched_dep"].dt.hour + df["sched_dep"].dt.minute / 60
    df["weekday"] = df["sched_dep"].dt.dayofweek
    df["wind_gust"] = df["wind_gust"].fillna(0)
    return df
