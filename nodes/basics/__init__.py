"""The basic nodes: load, text, latent, image, mask, sampling, save, values."""
