"""The ground floor: stateless calls, views, targets, baselines, batched evaluation, quadrature, errors."""
