"""The stateless call: twins, edits at sites, and two engines for gradients."""
