"""The commands: thin scripts that compose a config and call the package."""
