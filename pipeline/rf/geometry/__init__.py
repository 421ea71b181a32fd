"""RF: antennas, wavefronts and scenes."""
