"""The basic nodes: load, text, latent, image, mask, sampling, save, values.

`examples/` holds the pictures that ready-made workflows start from; they appear in the `input` folder. They are drawn
by `models/bozzetto/scenes` (scene 3240, its mask grown by four pixels) and free to use like the rest of Sfumato.
"""
