"""Times Kronufft against every other implementation that is installed: `make bench`."""
