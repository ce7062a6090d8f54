"""The stack: the platform's components, one file each; see `base.py` for what a component is."""
