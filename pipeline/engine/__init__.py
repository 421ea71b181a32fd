"""Plans, tiles, memory, seconds, streams and blocks, of any kind of data."""
