"""Studies on top of the product; nothing in `nas` imports from here."""
