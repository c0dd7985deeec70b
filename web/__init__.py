"""All that speaks HTTP. Imports neither torch nor nodes: the process starts fast and no node can crash it."""
