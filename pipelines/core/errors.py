"""Errors meant for the person at the keyboard."""


class InputError(ValueError):
    """A request that cannot be served as given.

    The message names the input, what was expected, what came, and what to do about it.
    """

    def __init__(self, name: str, expected: str, got: str, remedy: str):
        self.name, self.expected, self.got, self.remedy = name, expected, got, remedy
        super().__init__(f"{name}: expected {expected}, got {got}. {remedy}")


class StopStage(Exception):
    """Raised by an ``on_step`` callback to end a stage early; the stage returns what it has."""
