"""What is explained: targets, baselines, and the score as a function of a point."""
