"""Bozzetto: the embedded text-to-image model, with the world it was trained on and the judge of its pictures."""
