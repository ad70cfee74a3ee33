"""Measures the client's own timing error against a server that writes into each token when it sent it: the client's certificate."""
