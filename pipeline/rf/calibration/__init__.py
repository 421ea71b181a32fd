"""RF: instruments, model errors and density, found before the reconstruction."""
