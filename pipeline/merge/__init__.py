"""Merging: from the blocks' images to one store, a pyramid for viewers, and NIfTI."""
