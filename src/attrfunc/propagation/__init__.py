"""Methods that are gradients under other rules: one interpreter of operations, and rule books for it."""
