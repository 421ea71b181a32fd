"""Commands of `kronufft` that are no stage, a module each; light to load, as every command is."""
