"""RF: how images are measured."""
