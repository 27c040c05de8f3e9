"""The servers that ours is measured beside, as their documentation shows them, and what they serve."""
