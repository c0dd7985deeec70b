"""Editing without training: inversion, attention, guidance and regions, one method a file."""
