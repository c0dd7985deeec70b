"""The node classes of ComfyUI that its image workflows use, under their own names and inputs, in terms of our nodes.

Their order of inputs is that of ComfyUI: its files give widget values by position. What differs is in docs/comfyui.md.
"""
