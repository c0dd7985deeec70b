"""Weights that people put here, and the embedded model."""
