"""Defines BadInput, the one exception for input that a person wrote: it names the file, the key and the way out."""


class BadInput(ValueError):
    """Something a person can correct: the message says where, what was found, what is allowed and what to do."""
