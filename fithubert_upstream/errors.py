"""The one exception that means "what you gave is not what was expected"."""


class FitHubertError(ValueError):
    """A mistake in the input, told in one line: what was expected, what was found, what to do.

    The command line prints the message without a traceback and exits with 2. Anything else that
    is raised is a bug of ours and keeps its traceback.
    """
