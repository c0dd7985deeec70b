"""A small dual encoder (image and text in one 64-dimensional space), kept apart from the judge.

It may guide and rank pictures; the judge measures them. It never saw the held-out things.
"""

from models.bozzetto.encoder.network import DualEncoder, embed_images, embed_texts, load

__all__ = ["DualEncoder", "embed_images", "embed_texts", "load"]
