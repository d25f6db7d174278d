"""Parts of published networks that several methods share, and the reading of their checkpoints."""
