"""The families of networks, one file each: options, task and builder."""
