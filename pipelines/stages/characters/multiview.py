"""Multi-view diffusion: an A-pose picture -> six views of color and normals per peel level (StdGEN Sec. 3.2, Era3D).

Levels are separate runs of one network, told which by its class vector, from the same starting noise.  Stock Era3D
makes one level of any object.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.character_views import LEVEL_NAMES, CharacterViews
from ...core.errors import InputError, StopStage
from ...core.ortho import VIEW_NAMES
from ...core.randomness import step_generator
from ...core.step import KeepState, OnStep, ignore_step, keep_no_state
from ...core.threads import aside
from ...networks.stdgen.schedule import first_time
from ..inputs.picture import find_plain_background
from .canonicalize import Watcher, kept
from .picture import CharacterPicture, fit_upright, place_in_square
from .soft_outlines import WHITE_TOLERANCE, cover_of_normals, cut_out, with_missing, with_picture, without_white
from .unfinished import Resume, Unfinished, begin_anew, go_on, left_over, run_key
from .view_order import level_remarks, misplaced

NAME = "Multi-view"
NESTED = 0.9  # of a level that lies inside the one before it
CHANGED = 0.25  # summed color difference that counts as a change
VIEWS = len(VIEW_NAMES)
_SMALL = 1 << 18  # latent values of twelve pictures: of more, levels are not begun beside each other
FOUR, FOUR_INSTEAD = (0, 2, 3, 4), {1: 0, 5: 0}  # CharacterGen's of the six; which of them stands in while order is checked


@dataclass(frozen=True)
class MultiViewSettings:
    """levels: of 0 (complete), 1 (no hair), 2 (body only), in that order; (0,) gives a character in one piece.

    steps, guidance, eta: None = the network's own (published: 40, 3.0, 1.0).  seed: of all noise; each level's fresh
    noise depends on seed and level only, so that levels can be made apart.  unclip_noise: draw the embedding's noise as
    the published pipeline does.  preview_every: steps between previews, 0 = none.
    """

    levels: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    guidance: float | None = None
    eta: float | None = None
    seed: int = 42
    unclip_noise: bool = False
    preview_every: int = 5

    def __post_init__(self):
        if not self.levels or sorted(set(self.levels)) != list(self.levels) or not set(self.levels) <= {0, 1, 2}:
            raise InputError("levels", "some of 0, 1, 2 in that order", str(self.levels), "0 is the complete character.")
        if self.steps is not None and self.steps < 1:
            raise InputError("steps", "at least 1", str(self.steps), "Published: 40.")


def draw_views(network, picture: Tensor, settings: MultiViewSettings = MultiViewSettings(), *, on_step: OnStep = ignore_step,
               autosave: KeepState = keep_no_state, resume: Resume = begin_anew, device: torch.device | str = "cpu",
               done: CharacterViews | None = None) -> CharacterViews:
    """Square views of the levels asked for; picture: [H, W, 3] sRGB, an A-pose from the front on white, any size.

    network: ``networks.stdgen.multiview.MultiView`` on ``device``; done: levels of an earlier, stopped run, which are kept.
    on_step may raise StopStage: the levels finished so far are returned, and at least the first as far as it got.
    autosave: told of all latents after every step, and when the stage is stopped or fails; resume: gives them back to the
    same run later, which then ends bit for bit where it would have ended without a pause.
    """
    if picture.ndim != 3 or picture.shape[-1] != 3:
        raise InputError("picture", "an opaque A-pose picture [H, W, 3]", str(list(picture.shape)),
                         "Use the picture of Canonicalize, or composite yours on white.")
    if getattr(network, "stock", False) and settings.levels != (0,):
        raise InputError("levels", "level 0 alone from stock Era3D", str(settings.levels), "Load StdGEN's network for layers.")
    return _run(network, fit_upright(picture, network.size), settings, device, done, on_step, autosave, resume)


def draw_stock_views(network, picture: CharacterPicture, settings: MultiViewSettings = MultiViewSettings(levels=(0,)), *,
                     on_step: OnStep = ignore_step, autosave: KeepState = keep_no_state,
                     resume: Resume = begin_anew, device: torch.device | str = "cpu") -> CharacterViews:
    """Stock Era3D: six views of any object cut out of its background; pauses as :func:`draw_views`."""
    if not network.stock:
        raise InputError("network", "stock Era3D", "StdGEN's multi-view network", "Load Era3D's folder, or use draw_views.")
    return _run(network, place_in_square(picture, network.size), settings, device, None, on_step, autosave, resume)


def _run(network, shown: Tensor, settings: MultiViewSettings, device, done, on_step: OnStep, autosave: KeepState,
         resume: Resume) -> CharacterViews:
    levels, finished = settings.levels, {} if done is None else {name: done.level(name) for name in done.levels}
    told = _told(network, settings)
    steps, key = told["steps"], run_key(NAME, shown, told)
    left = left_over(resume, key, network.latent_shape, steps)
    own = shown.cpu() if getattr(network, "copy", None) is not None else None
    start = torch.randn(network.latent_shape, generator=step_generator(settings.seed, NAME, 0)).to(device)
    openings = {level: _Opening(network, shown, start, level, told) for level in levels}
    with ExitStack() as stack:
        begun = {level: stack.enter_context(aside(openings[level].answered, start.device))
                 for level in _ahead(levels, finished, left, start)}
        for index, level in enumerate(levels):
            name = LEVEL_NAMES[level]
            if name in finished:
                continue
            here = left.at(level, steps * index)
            watcher = Watcher(NAME, steps * len(levels), network, settings.preview_every, on_step, here, openings[level].fresh,
                              slice(VIEWS, 2 * VIEWS), f"level {level}: {name}", autosave)
            with kept(watcher):
                try:
                    opening = begun[level]() if level in begun else openings[level]
                    latents = opening.sample(watcher)
                except StopStage:
                    guess = watcher.stopped()
                    if not finished:
                        finished[name] = to_views(network.decode(guess).cpu(), name, network.soft, own)
                    break
                finished[name] = to_views(network.decode(latents).cpu(), name, network.soft, own)
            left = replace(left, finished={**left.finished, level: latents})
    return join_levels([finished[name] for name in LEVEL_NAMES if name in finished])


def _told(network, settings: MultiViewSettings) -> dict:
    """All that changes the result, apart from the picture and the network's weights."""
    guidance = network.guidance if settings.guidance is None else settings.guidance
    eta = network.eta if settings.eta is None else settings.eta
    return {"steps": settings.steps or network.steps, "guidance": guidance, "eta": eta, "seed": settings.seed,
            "levels": list(settings.levels), "unclip_noise": settings.unclip_noise}


def _ahead(levels: tuple[int, ...], finished: dict, left: Unfinished, start: Tensor) -> list[int]:
    """Levels whose first answer is worth asking for beside the work on others: those after the next one, the last first.

    None for large pictures: their network fills the memory, and who stops early has not waited for it.
    """
    waiting = [level for level in levels if LEVEL_NAMES[level] not in finished and level not in left.finished]
    at_start = [level for level in waiting[1:] if level != left.part or left.latents is None]
    return at_start[::-1] if start.numel() <= _SMALL else []


class _Opening:
    """One level before its first step: what it is shown, and the network's first answer, which waits for no other level."""

    def __init__(self, network, shown: Tensor, start: Tensor, level: int, told: dict):
        self.network, self.shown, self.start, self.level, self.told = network, shown, start, level, told
        self.fresh = step_generator(told["seed"], NAME, 1 + level)
        self.condition = self.answer = None

    def answered(self) -> "_Opening":
        """Itself, once the first answer is there."""
        self.condition = self._show()
        self.answer = self._ask(self.start, first_time(self.network.schedule, self.told["steps"]))
        return self

    def sample(self, watcher: Watcher) -> Tensor:
        """The level's latents, from where ``watcher.left`` is."""
        if self.level not in watcher.left.finished and self.condition is None:
            self.condition = self._show()
        return go_on(self._predict, self.start, self.network.schedule, self.told["steps"], self.told["eta"], self.fresh,
                     watcher, watcher.left)

    def _show(self):
        return self.network.show(self.shown.to(self.start.device), self.fresh if self.told["unclip_noise"] else None)

    def _ask(self, x: Tensor, t: int) -> Tensor:
        return self.network.predict(x, t, self.condition, self.level, self.told["guidance"])

    def _predict(self, x: Tensor, t: int) -> Tensor:
        return self.answer if x is self.start and self.answer is not None else self._ask(x, t)


def to_views(pictures: Tensor, level: str, soft: bool = False, front: Tensor | None = None) -> CharacterViews:
    """Views of one level from decoded pictures [12, H, W, 3], normals first; padded with white to squares.

    soft: the pictures' outlines are blurred, see :func:`cover_of_normals` and :func:`cut_out`.
    front: [H, W, 3], the picture that soft ones were drawn from, where its outline is to be theirs; see :func:`with_picture`.
    """
    height, width = pictures.shape[1:3]
    left = (height - width) // 2
    pictures = torch.nn.functional.pad(pictures, (0, 0, left, height - width - left), value=1.0)
    normals, colors = pictures[:VIEWS], pictures[VIEWS:]
    if not soft:
        return assemble_views(colors[None], normals[None], (level,))
    own = cover = cover_of_normals(normals)
    normals = without_white(normals, own)
    if front is None:
        shown = cut_out(colors, cover)
    else:
        square, complete = torch.nn.functional.pad(front, (0, 0, left, height - width - left), value=1.0), level == LEVEL_NAMES[0]
        cover = with_picture(own, square, complete)
        shown = cut_out(colors, cover)
        if complete:
            shown[0] = colors[0]  # copied from the picture, whose outline it has
            shown, normals = with_missing(shown, normals, (cover > 0.5) & (own <= 0.5), square)
    return replace(assemble_views(shown[None], normals[None], (level,), cover[None]), color=shown[None])


def assemble_views(colors: Tensor, normals: Tensor, levels: tuple[str, ...], alpha: Tensor | None = None) -> CharacterViews:
    """Views from color and normal pictures [L, 6, H, W, 3] in [0, 1] on white.

    alpha: [L, 6, H, W]; without it, what the normal pictures show that is not white.
    """
    alpha = mask_of_normals(normals) if alpha is None else alpha
    decoded = torch.nn.functional.normalize(normals * 2 - 1, dim=-1) * (alpha > 0)[..., None]
    colors = colors * alpha[..., None] + (1 - alpha[..., None])
    return CharacterViews(colors, decoded, alpha, levels)


def mask_of_normals(normals: Tensor) -> Tensor:
    """[...] 1 where encoded normal pictures [..., 3] are not white.

    Safe, because no unit normal comes near white: the three channels of its color sum up to 2.37 at most.
    """
    return ((1 - normals).abs().sum(-1) > WHITE_TOLERANCE).float()


def join_levels(parts: list[CharacterViews]) -> CharacterViews:
    """One object from several levels of the same size."""
    color, normal, alpha = (torch.cat([getattr(p, name) for p in parts]) for name in ("color", "normal", "alpha"))
    return CharacterViews(color, normal, alpha, levels=tuple(name for p in parts for name in p.levels), seen=parts[0].seen)


def level_report(views: CharacterViews) -> list[str]:
    """How much of the outlines each level keeps of the one before it (S-K.9).

    Taking layers off can only uncover background, so nearly all of a level lies inside the level before.
    """
    lines = []
    for i in range(1, len(views.levels)):
        before, after = views.alpha[i - 1] > 0.5, views.alpha[i] > 0.5
        kept = float((before & after).sum() / before.sum().clamp_min(1))
        inside = float((before & after).sum() / after.sum().clamp_min(1))
        changed = (views.color[i - 1] - views.color[i]).abs().sum(-1)[before | after]
        note = "" if inside > NESTED else "; it should lie inside: the levels disagree"
        lines.append(f"'{views.levels[i]}' keeps {kept:.0%} of the outline of '{views.levels[i - 1]}', {inside:.0%} of it lies "
                     f"inside that, colors changed in {float((changed > CHANGED).float().mean()):.0%}{note}")
    return lines


def views_from_pictures(colors: list[Tensor], normals: list[Tensor] | None = None, levels: int = 3,
                        masks: Tensor | None = None) -> CharacterViews:
    """Views made elsewhere: lists of 6 * levels pictures [H, W, 3] in [0, 1] on white, level after level, in the order of
    VIEW_NAMES.

    normals: None = not known; outlines then are what of the colors is not connected plain background.
    masks: [6 * levels, H, W] coverage, which takes precedence over both.
    InputError for a wrong number, sizes that disagree, and for an order in which opposite views do not mirror each other.
    """
    wanted, order = VIEWS * levels, ", ".join(VIEW_NAMES)
    if len(colors) == len(FOUR):
        return _of_four(colors, normals, masks)
    counted = (("colors", colors), ("normals", normals), ("mask", masks))
    for name, pictures in counted:
        if pictures is not None and len(pictures) != wanted:
            raise InputError(name, f"{wanted} pictures: {levels} levels of {order}", str(len(pictures)), "Add or remove some.")
    sizes = {tuple(p.shape) for p in (*colors, *(normals or []))}
    if len(sizes) != 1 or len(next(iter(sizes))) != 3 or next(iter(sizes))[2] != 3:
        shown = ", ".join(" x ".join(str(v) for v in s) for s in sorted(sizes)[:3])
        raise InputError("views", "pictures of one size with 3 channels", shown, "Scale all of them to the same size.")
    height, width = next(iter(sizes))[:2]
    if height != width:
        raise InputError("views", "square pictures", f"{width} x {height}", "Pad them with white at the sides.")
    if masks is not None and tuple(masks.shape[1:]) != (height, width):
        raise InputError("mask", f"masks of the pictures' size, {width} x {height}", f"{masks.shape[2]} x {masks.shape[1]}",
                         "Scale masks and pictures alike.")
    shape = (levels, VIEWS, height, width, 3)
    guessed = masks is None and normals is None
    if guessed:
        masks = torch.stack([_outline(picture) for picture in colors])
    alpha = None if masks is None else (masks > 0.5).float().reshape(shape[:-1])
    unknown = torch.full(shape, 0.5)  # decodes to no normal at all
    told = unknown if normals is None else torch.stack(normals).reshape(shape)
    given = torch.stack(colors).reshape(shape)
    views = assemble_views(given, told, LEVEL_NAMES[:levels], alpha)
    if guessed and float(given[..., 0, :, :].median()) > 0.98:
        views = replace(views, color=given)  # on white already, soft outlines included
    check_order(views)
    return views


def _of_four(colors: list[Tensor], normals: list[Tensor] | None, masks: Tensor | None) -> CharacterViews:
    """CharacterGen's views of the complete character, front, right, back and left; the other two are not there."""
    place = [FOUR.index(k) if k in FOUR else FOUR.index(FOUR_INSTEAD[k]) for k in range(VIEWS)]
    for name, given in (("normals", normals), ("mask", masks)):
        if given is not None and len(given) != len(FOUR):
            raise InputError(name, f"{len(FOUR)}, as many as colors", str(len(given)), "Add or remove some.")
    filled = views_from_pictures([colors[k] for k in place], None if normals is None else [normals[k] for k in place], 1,
                                 None if masks is None else masks[place])
    seen = torch.tensor([k in FOUR for k in range(VIEWS)])
    there = seen[None, :, None, None]
    color = torch.where(there[..., None], filled.color, torch.ones(()))
    return CharacterViews(color, filled.normal * there[..., None], filled.alpha * there, filled.levels, seen=tuple(seen.tolist()))


def _outline(picture: Tensor) -> Tensor:
    """[H, W] what of a picture [H, W, 3] is not the plain background that reaches its rim."""
    try:
        return find_plain_background(picture.cpu())
    except InputError as error:
        raise InputError("colors", "pictures on white, or a mask, or normals on white", error.got,
                         "Remove the background, or connect a mask that is 1 where the figure is.") from error


def check_order(views: CharacterViews) -> list[str]:
    """Remarks on opposite views that disagree; InputError for a level with an empty view, or with views in another order."""
    for index, name in enumerate(views.levels):
        masks = views.alpha[index] > 0.5
        empty = [VIEW_NAMES[i] for i in range(VIEWS) if not bool(masks[i].any())]
        if empty:
            raise InputError("views", f"a figure in every view of level '{name}'", f"none in {', '.join(empty)}",
                             "Check the pictures: their background must be white, the figure must not be.")
        found = misplaced(masks)
        if found is not None:
            a, b, overlap = found
            raise InputError(
                "views", f"the order {', '.join(VIEW_NAMES)}",
                f"views {a + 1} and {b + 1} of level '{name}' that mirror each other ({overlap:.0%} overlap)",
                "Sort them: only opposite views of an orthographic camera have mirrored outlines.")
    return level_remarks(views)
