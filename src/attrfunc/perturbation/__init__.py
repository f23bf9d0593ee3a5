"""Methods that look at the score with some features present and others replaced: one file each."""
