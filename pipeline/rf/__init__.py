"""Radar and microwave imaging: what is its own, from raw files to pictures."""
