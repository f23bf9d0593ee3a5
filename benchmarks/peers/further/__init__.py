"""Methods that have a peer of their own, or none: each file gives the rows of one family."""
