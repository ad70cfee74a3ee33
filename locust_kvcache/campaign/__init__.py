"""Measures several deployments in turns (A B A B A B) from a YAML file, and compares their runs."""
