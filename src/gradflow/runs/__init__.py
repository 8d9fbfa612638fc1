"""One run from its config to its finished folder: planning, executing, status."""
