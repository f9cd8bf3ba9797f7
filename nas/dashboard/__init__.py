"""Runs in a browser while they run: a list of all, each one's page kept up to date, several side by side."""
