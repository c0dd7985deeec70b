"""The workflow engine: graphs, keys, store, jobs. Imports no torch outside `engine.diffusion`."""
