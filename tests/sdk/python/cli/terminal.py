"""The output of the command line."""


class Refused(Exception):
    """Checks that the command failed; returns its output."""
