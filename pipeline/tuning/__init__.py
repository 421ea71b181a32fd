"""`kronufft tune`: measure the ways to compute a reconstruction's transforms on this machine."""
