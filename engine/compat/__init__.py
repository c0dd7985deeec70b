"""ComfyUI's workflow files, prompts and node classes, as ours and back. See docs/comfyui.md."""
