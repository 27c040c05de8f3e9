"""nb2prod: a tagged notebook to a live, proven prediction."""
