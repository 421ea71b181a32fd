"""One reader per source format, and the simulator; each gives lazily read arrays."""
