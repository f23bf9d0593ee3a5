"""Methods that are expectations of gradients."""
