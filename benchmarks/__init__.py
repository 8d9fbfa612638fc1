"""What gradflow costs, beside stated baselines in the same run."""
