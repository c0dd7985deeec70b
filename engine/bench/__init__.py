"""Measurements that stay in the project: `main.py bench NAME`."""
