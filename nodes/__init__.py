"""ComfyUI <-> pipelines: the only code that imports comfy, folder_paths or server."""
