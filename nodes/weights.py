"""Downloads, on request only."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import checkpoints
from ..host.base import CATEGORY, Node, node_key
from ..pipelines.catalog import registry
from ..pipelines.core.errors import InputError


class DownloadWeights(Node):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="Lift123_DownloadWeights", display_name="Download Weights", category=f"{CATEGORY}/networks",
            description="Gets the files of a published network into ComfyUI's models folder, when you queue it and accept "
                        "the license. Can be canceled and continued.",
            search_aliases=["zero123", "stable diffusion", "checkpoint", "missing model", "license"],
            is_output_node=True, not_idempotent=True,
            inputs=[
                io.Combo.Input("name", options=list(registry.BY_NAME), default="depth-anything-v2-small",
                               tooltip="What to get. The loaders use the same names; a name with a suffix is a single file."),
                io.Boolean.Input("accept_license", default=False, label_on="yes", label_off="no",
                                 tooltip="I have read and accept the license of these weights. Queue once with 'no' to see "
                                         "which license, how many GB, and where the files go."),
            ],
            outputs=[io.String.Output("report", display_name="report",
                                      tooltip="Where the files are, and how each was checked.")],
        )

    @classmethod
    def validate_inputs(cls, name, accept_license):
        """The queue stops here, with everything a person wants to know, until the license is accepted."""
        try:
            _agreed(registry.known(name), accept_license)
            return True
        except InputError as problem:
            return str(problem)

    @classmethod
    def fingerprint_inputs(cls, name, accept_license):
        """Runs again when files have gone."""
        weights = registry.known(name)
        return [f.path for f in weights.missing(checkpoints.location(weights))]

    @classmethod
    def run(cls, name, accept_license):
        from ..host.runner import say
        from ..pipelines.catalog.download import fetch_weights

        weights = registry.known(name)
        _agreed(weights, accept_license)
        folder = checkpoints.location(weights)
        done = fetch_weights(weights, folder, Bytes(node_key(cls)))
        lines = [f"{name}: complete in {folder}"]
        lines += [f"{f.path.relative_to(folder).as_posix()}: {f.size} bytes, {f.note}; SHA-256 {f.sha256}" for f in done]
        report = "\n".join(lines if done else [*lines, "nothing was missing"])
        say(lines[0], node_key(cls))
        return io.NodeOutput(report, ui={"text": [report]})


def _agreed(weights: registry.Weights, accepted: bool) -> None:
    """InputError until the license is accepted."""
    if not accepted:
        note = f" {weights.note}" if weights.note else ""
        raise InputError("accept_license", f"consent to the license of {weights.name}: {weights.license} ({weights.license_url})",
                         "no", f"About {weights.gigabytes:g} GB would go to {weights.location} from {weights.sources[0]}.{note} "
                               "Read the license, then set it to 'yes'.")


class Bytes:
    """``on_progress`` of a download: bar, text and ComfyUI's cancel button."""

    def __init__(self, key: str | None):
        self.key, self.bar, self.file = key, None, ""

    def __call__(self, name: str, have: int, total: int | None) -> None:
        import comfy.model_management as mm
        import comfy.utils

        from ..host.runner import say

        mm.throw_exception_if_processing_interrupted()
        if self.bar is None or name != self.file:
            self.file, self.bar = name, comfy.utils.ProgressBar(max(total or 1, 1))
            say(f"{name}: {(total or 0) / 1e6:.0f} MB", self.key)
        self.bar.update_absolute(have, max(total or have, 1))
