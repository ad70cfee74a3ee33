"""Several deployments measured in turns, A B A B A B: a YAML file comes in, complete runs of each and one comparison go out."""
