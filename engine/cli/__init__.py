"""The command line: `main.py` hands its arguments to `engine.cli.parser`, each command has its own module."""
