"""An example of what a package can add to locust-kvcache (docs/extending.md)."""
