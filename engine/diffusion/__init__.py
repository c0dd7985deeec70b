"""The diffusion library: torch numerics that know no graph and no HTTP."""
