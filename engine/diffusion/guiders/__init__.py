"""Guiders that call other guiders, one file each: `build(denoiser, conds, **options)` is all that it takes."""
