"""Mistakes a user can make, each with the exit code that a script can act on.

A ``UserError`` is printed as one message without a traceback. Its text says what was read, what was
found there and what would be right. A programming mistake is an ordinary exception with its traceback.
"""


class UserError(Exception):
    """A mistake in how the program was called (exit 2), and the base of all others."""

    exit_code = 2


class RecipeError(UserError):
    """A recipe, or an override of it, that cannot be used."""

    exit_code = 3


class DataError(UserError):
    """Data that is absent, incomplete or damaged."""

    exit_code = 4


class EnvironmentFault(UserError):
    """Something outside the project is missing: weights, a GPU, the network, a library."""

    exit_code = 5


class OutOfMemory(UserError):
    """Host or device memory is spent."""

    exit_code = 6


class Diverged(UserError):
    """Training produced values that are not finite."""

    exit_code = 7


class DiskFull(UserError):
    """No space is left where something was to be written."""

    exit_code = 8


class Preempted(UserError):
    """Asked to stop by a signal; everything is saved and the same command goes on."""

    exit_code = 75


class Interrupted(UserError):
    """Stopped from the keyboard; everything is saved and the same command goes on."""

    exit_code = 130
