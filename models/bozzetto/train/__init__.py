"""Training of the small model: resumable, deterministic from (seed, step), state kept outside the work tree."""
