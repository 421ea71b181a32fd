"""RF: source formats and the simulations."""
