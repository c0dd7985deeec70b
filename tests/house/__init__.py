"""The rules of the house, each one checked."""
