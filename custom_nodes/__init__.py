"""Packs of nodes from anywhere. Each folder or file here is one; see `example/README.md`."""
