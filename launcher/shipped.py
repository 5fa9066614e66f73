"""The shipped graphs: a short name for people and code, a title for ComfyUI's template browser, and where the files are.

The browser shows a pack's graph by its file name, and every ``workflows/*.json`` is one.  So that is where the titles are;
twins in API format, commands, tests and documents say the short name.  Characters that Windows forbids in a file's name or
that mean something in an address do not occur (``tests/project/test_titles.py``).
"""

import json
from pathlib import Path

from .settings import ROOT, LaunchError

TITLES = {  # short name -> title; " (CPU" sorts in front of ", ...": what runs anywhere is the first of its kind
    "consistent123_quickstart": "Picture to 3D (CPU, 2 minutes)",
    "magic123_quickstart": "Picture to 3D (CPU, imagine more or less, Magic123)",
    "hifi123_quickstart": "Picture to 3D (CPU, sharp texture, HiFi-123)",
    "consistent123": "Picture to 3D, Consistent123 at full size (GPU)",
    "magic123": "Picture to 3D, Magic123 at full size (GPU)",
    "hifi123": "Picture to 3D, HiFi-123 at full size (GPU)",
    "photo_quickstart": "Photo to 3D (CPU, cut out by color)",
    "photo_remover": "Photo to 3D, background remover (CPU, BiRefNet)",
    "photo_normals": "Photo to 3D, depth and normals (CPU, BiRefNet, MoGe)",
    "three_photos": "Photos from three sides to 3D (CPU)",
    "text_to_3d": "Text to 3D (CPU)",
    "text_to_3d_mesh": "Text to 3D, then a mesh (CPU)",
    "edit_words": "Edit a 3D object with words (CPU)",
    "hifi123_texture_mesh": "Paint a mesh like a picture (CPU)",
    "refine_mesh_texture": "Paint a mesh like a picture, both priors (CPU)",
    "stdgen_quickstart": "Character to layers (CPU, half a minute)",
    "stdgen_rigged": "Character to layers, rigged and walking (CPU, GLB, VRM)",
    "stdgen_toy": "Character to layers, from true views of a toy (CPU)",
    "stdgen": "Character to layers, StdGEN at full size (GPU)",
    "stdgen_edit": "Character to layers, other hair from an edit (GPU)",
    "prior_2d_only": "Research - 2D prior alone",
    "prior_3d_only": "Research - 3D prior alone",
    "prior_both": "Research - both priors and a slider",
    "zero123_baseline": "Research - baseline Zero-1-to-3",
    "neurallift_style": "Research - baselines NeuralLift-360 and Make-It-3D",
    "realfusion_style": "Research - baseline RealFusion, a learned word",
    "distillation_suite": "Research - seven methods of distillation compared",
    "six_views_fit": "Research - six given views, enhanced and fitted",
    "hifi123_novel_views": "Research - novel views before and after RGNV",
    "hifi123_rgnv_enhance": "Research - renders of a mesh before and after RGNV",
    "hifi123_inversion": "Research - inversion with and without depth",
    "ablation_two_stages": "Research - ablation of two stages (Consistent123)",
    "ablation_schedules": "Research - ablation of schedules (Consistent123)",
    "ablation_loss_weights": "Research - ablation of loss weights (Consistent123)",
    "ablation_boundary": "Research - ablation of the CLIP boundary (Consistent123)",
    "ablation_strategies": "Research - ablation of strategies (Consistent123)",
    "ablation_concept": "Research - ablation of the learned word (Consistent123)",
    "ablation_weight_curves": "Research - curves of the weights (Consistent123)",
    "ablation_prior_trade_off": "Research - ablation of the prior trade-off (Magic123)",
    "ablation_coarse_fine": "Research - ablation of coarse and fine stage (Magic123)",
    "ablation_hifi123": "Research - ablation of RGNV (HiFi-123)",
    "ablation_hifi123_texture": "Research - ablation of the texture stage (HiFi-123)",
    "ablation_hifi123_angles": "Research - ablation by angle from the front (HiFi-123)",
    "ablation_stdgen_pieces": "Research - ablation of layers or one piece (StdGEN)",
}


def short_name(name: str) -> str | None:
    """The short name of a graph that is called by it or by its title (in any case); None for any other."""
    wanted = name.strip().casefold()
    return next((short for short, title in TITLES.items() if wanted in (short, title.casefold())), None)


def graph_file(name: str, root: Path = ROOT) -> Path:
    """The graph as ComfyUI's page opens it, of a short name; its thumbnail has the ending .jpg.  KeyError for any other."""
    return root / "workflows" / f"{TITLES[name]}.json"


def twin_file(name: str, root: Path = ROOT) -> Path:
    """The same in API format, of a short name."""
    return root / "workflows" / "api" / f"{name}.json"


def load(name: str, root: Path = ROOT) -> tuple[dict, str | None]:
    """(API-format prompt, short name) of a graph's short name, title or file, or (prompt, None) of a file in API format.

    Raises LaunchError for what is neither.
    """
    file = Path(name).expanduser()
    ours = file.resolve().parent == (root / "workflows").resolve()
    if ours or not file.is_file():
        known = short_name(file.stem if ours else name)
        if known is None:
            raise LaunchError(f"no workflow '{name}'; shipped are: {', '.join(sorted(TITLES))}")
        file = twin_file(known, root)
    try:
        prompt = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LaunchError(f"{file} is no JSON: {error}") from error
    if not isinstance(prompt, dict) or not all(isinstance(n, dict) and "class_type" in n for n in prompt.values()):
        raise LaunchError(f"{file} is not in ComfyUI's API format (save it with 'Export (API)')")
    twin = file.stem in TITLES and file.resolve() == twin_file(file.stem, root).resolve()
    return prompt, file.stem if twin else None
