"""From measured samples to images: what accumulate and reconstruct jobs compute."""
