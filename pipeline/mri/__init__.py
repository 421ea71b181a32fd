"""MRI: what is its own, from raw files to pictures."""
