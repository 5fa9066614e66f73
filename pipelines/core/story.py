"""How a result was made: every stage's settings and seconds, handed from stage to stage with the result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

SAME = ("stage", "settings", "seed")  # of two entries of one stage that was interrupted and went on


@dataclass(frozen=True)
class Story:
    """JSON throughout, so that files can keep it.

    stages:  in order, each {"stage": name, "settings": {...}} and what else is known of it: "seed", "steps" done of the
             "total" planned, "pack" (version).  Nothing that differs between two runs of the same.
    seconds: name of a stage -> its time.
    inputs:  name -> what a person gave.
    """

    stages: tuple[dict, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    inputs: dict = field(default_factory=dict)

    def then(self, entry: dict, seconds: float = 0.0) -> "Story":
        """With one more stage; one that went on after an interruption stays one entry, and its seconds add up."""
        earlier = self.stages[:-1] if self.stages and _goes_on(self.stages[-1], entry) else self.stages
        return replace(self, stages=(*earlier, entry)).spent(entry["stage"], seconds)

    def spent(self, name: str, seconds: float) -> "Story":
        """With more seconds of a stage."""
        if not seconds:
            return self
        return replace(self, seconds={**self.seconds, name: round(self.seconds.get(name, 0.0) + seconds, 3)})

    def given(self, **inputs) -> "Story":
        """With more inputs; those that are known stay as they are."""
        return replace(self, inputs={**inputs, **self.inputs})

    def joined(self, other: "Story") -> "Story":
        """Of a result that was put together from two."""
        stages = (*self.stages, *(entry for entry in other.stages if entry not in self.stages))
        both = replace(self, stages=stages).given(**other.inputs)
        for name, seconds in other.seconds.items():
            both = both if self.seconds.get(name) == seconds else both.spent(name, seconds)
        return both

    def identity(self) -> tuple:
        """Nothing: how long something took does not make it another thing, and all else is told by the thing itself."""
        return ()

    def to_json(self) -> dict:
        """Inverse of :meth:`from_json`."""
        return {"stages": list(self.stages), "seconds": self.seconds, "inputs": self.inputs}

    @staticmethod
    def from_json(data: dict | None) -> "Story":
        """A story from a file; an empty one for None.  ValueError for anything but a story."""
        if data is None:
            return Story()
        if not isinstance(data, dict) or not all(isinstance(entry, dict) and "stage" in entry for entry in data["stages"]):
            raise ValueError("no story of stages")
        return Story(tuple(data["stages"]), dict(data["seconds"]), dict(data["inputs"]))


def _goes_on(before: dict, entry: dict) -> bool:
    complete = before.get("total") is not None and before.get("steps", 0) >= before["total"]
    return not complete and all(before.get(key) == entry.get(key) for key in SAME)
