"""Methods that are made of methods of several families."""
