"""Errors meant for the person at the keyboard.

ComfyUI shows an error's type as "module.name", where a pack's module begins with its folder's path.  ``builtins`` is the
one module it leaves out, so these say they come from there: a person reads "InputError".
"""

LONGEST = 400  # letters of what came: a person's own text may be a book


class InputError(ValueError):
    """A request that cannot be served as given.

    The message names the input, what was expected, what came, and what to do about it.
    """

    __module__ = "builtins"

    def __init__(self, name: str, expected: str, got: str, remedy: str):
        got = got if len(got) <= LONGEST else f"{got[: LONGEST - 3]}..."
        name, expected, got, remedy = (  # halves of letters cannot be sent to a page nor written to a record
            part.encode("utf-8", "backslashreplace").decode() for part in (name, expected, got, remedy))
        self.name, self.expected, self.got, self.remedy = name, expected, got, remedy
        super().__init__(f"{name}: expected {expected}, got {got}. {remedy}")


class NotFinite(InputError):
    """A number that is no number, or infinite, where the optimization would have used it.

    source: what produced it (a prior, a loss, the gradients).  Nothing was changed by it yet.
    """

    __module__ = "builtins"

    def __init__(self, source: str, got: str, remedy: str):
        super().__init__(source, "finite numbers", got, remedy)

    def at(self, stage: str, iteration: int) -> "NotFinite":
        """The same error, told where it happened (1-based iteration)."""
        return NotFinite(f"{stage} iteration {iteration}: {self.name}", self.got, self.remedy)


class OutOfRoom(InputError):
    """Memory ran out although the work was already cut into its smallest pieces."""

    __module__ = "builtins"

    def __init__(self, stage: str, iteration: int, sizes: str, remedy: str):
        name = f"{stage} iteration {iteration}: memory"
        super().__init__(name, "room for one view at a time", f"too little at {sizes}", remedy)


class StopStage(Exception):
    """Raised by an ``on_step`` callback to end a stage early; the stage returns what it has."""
