"""The one error that a user is meant to read."""


class LabError(Exception):
    """Something that the user can mend.

    The message is one or two plain sentences: what was found, what was expected, what to do.
    The command line prints it without a traceback and exits with code 1.
    """
