"""The judge: a small network that reads a picture. It measures models and is never an input of one."""

from models.bozzetto.judge.network import Judge
from models.bozzetto.judge.read import Reading, Seen, load, read

__all__ = ["Judge", "Reading", "Seen", "load", "read"]
