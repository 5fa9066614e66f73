"""Six pictures of a character per peel level: colors, normals and outlines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from .errors import InputError
from .ortho import VIEW_NAMES, OrthoCameras, six_views
from .story import Story
from .views import Views

LEVEL_NAMES = ("complete", "no hair", "body")  # levels 0, 1, 2


@dataclass(frozen=True)
class CharacterViews:
    """Orthographic pictures of L peel levels in the view order of ``core.ortho.VIEW_NAMES``.

    color:  [L, 6, H, W, 3] sRGB in [0, 1], composited on white.
    normal: [L, 6, H, W, 3] in [-1, 1], unit length where ``alpha`` is above 0, else 0.  All six views share the front
            camera's frame (x its right, y up, z towards its viewer), which is the scene's.
            0 everywhere where only colors are known (``has_normals``).
    alpha:  [L, 6, H, W] coverage in [0, 1].
    levels: names of the L levels, of :data:`LEVEL_NAMES` and in that order.
    seen:   which of the six views there are; the others are white, with coverage 0 (CharacterGen draws four).
    story:  how they were made.
    The pictures show what ``six_views(H, W)`` sees.
    """

    color: Tensor
    normal: Tensor
    alpha: Tensor
    levels: tuple[str, ...] = LEVEL_NAMES
    story: Story = field(default_factory=Story)
    seen: tuple[bool, ...] = (True,) * len(VIEW_NAMES)

    def __post_init__(self):
        levels = tuple(self.levels)
        if len(self.seen) != len(VIEW_NAMES) or not any(self.seen):
            raise ValueError(f"seen must say of {len(VIEW_NAMES)} views whether they are there, got {self.seen}")
        if not levels or [name for name in LEVEL_NAMES if name in levels] != list(levels):
            raise ValueError(f"levels must be some of {LEVEL_NAMES} in that order, got {levels}")
        object.__setattr__(self, "levels", levels)
        if self.alpha.ndim != 4 or tuple(self.alpha.shape[:2]) != (len(levels), len(VIEW_NAMES)):
            raise ValueError(f"alpha must be [{len(levels)}, {len(VIEW_NAMES)}, H, W], got {tuple(self.alpha.shape)}")
        for name in ("color", "normal"):
            value = getattr(self, name)
            if tuple(value.shape) != (*self.alpha.shape, 3):
                raise ValueError(f"{name} must be {(*self.alpha.shape, 3)}, got {tuple(value.shape)}")

    def require_figure(self) -> None:
        """InputError where the views show nothing."""
        if not bool((self.alpha > 0.5).any()):
            raise InputError("views", "views of a figure", "nothing but background", "Look at them with Views to Images.")

    @property
    def height(self) -> int:
        """Pixels."""
        return self.alpha.shape[2]

    @property
    def width(self) -> int:
        """Pixels."""
        return self.alpha.shape[3]

    @property
    def has_normals(self) -> bool:
        """Whether any normal is known; six colors alone are enough for S-LRM, not for the refinement."""
        return bool((self.normal != 0).any())

    @property
    def cameras(self) -> OrthoCameras:
        """The six cameras of every level, at the pictures' size."""
        return six_views(self.height, self.width).to(self.alpha.device)

    def index(self, level: int | str) -> int:
        """Where a level (0, 1, 2 or its name) is stored; ValueError, naming those that exist, where it is not."""
        name = LEVEL_NAMES[level] if isinstance(level, int) and 0 <= level < len(LEVEL_NAMES) else level
        if name not in self.levels:
            raise ValueError(f"these views have no level {level!r}; they have: {', '.join(self.levels)}")
        return self.levels.index(name)

    def level(self, level: int | str) -> "CharacterViews":
        """One level (0, 1, 2 or its name) alone."""
        i = self.index(level)
        parts = {name: getattr(self, name)[i : i + 1] for name in ("color", "normal", "alpha")}
        return CharacterViews(**parts, levels=(self.levels[i],), seen=self.seen)

    def whole(self) -> "CharacterViews":
        """The complete character under the name of the level that shows a figure in one piece outermost: "body"."""
        return replace(self.level("complete"), levels=("body",))

    def encoded_normal(self) -> Tensor:
        """[L, 6, H, W, 3] (normal + 1) / 2 in [0, 1], composited on white."""
        alpha = self.alpha[..., None]
        return (self.normal + 1) / 2 * alpha + (1 - alpha)

    def views(self, level: int | str) -> Views:
        """Posed pictures [6, ...] of one level with straight (not premultiplied) colors and world normals."""
        i = self.index(level)
        alpha = self.alpha[i][..., None]
        straight = ((self.color[i] - (1 - alpha)) / alpha.clamp_min(1e-6)).clamp(0, 1) * (alpha > 0)
        return Views(self.cameras, straight, self.alpha[i], normal=self.normal[i])  # pyright: ignore[reportArgumentType]

    def pack(self) -> tuple[dict[str, Tensor], dict]:
        """(tensors on the CPU, JSON); inverse of :meth:`unpack`."""
        tensors = {name: getattr(self, name).detach().cpu() for name in ("color", "normal", "alpha")}
        return tensors, {"levels": list(self.levels), "story": self.story.to_json()}

    @staticmethod
    def unpack(tensors: dict[str, Tensor], told: dict) -> "CharacterViews":
        """What :meth:`pack` gave."""
        color, normal, alpha = (tensors[name] for name in ("color", "normal", "alpha"))
        return CharacterViews(color, normal, alpha, levels=tuple(told["levels"]), story=Story.from_json(told["story"]))

    def to(self, device) -> "CharacterViews":
        """The same pictures on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in ("color", "normal", "alpha")})
