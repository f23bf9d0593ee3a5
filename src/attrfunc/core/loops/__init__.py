"""Many points and samples: plans, chunks, quadrature."""
