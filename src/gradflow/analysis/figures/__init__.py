"""How figures look, and what was drawn in them."""
