"""What the command line says."""


class Refused(Exception):
    """The command did not succeed; its words."""
