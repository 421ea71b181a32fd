"""Plans: pure functions from shapes, settings and limits to blocks, bytes and seconds."""
