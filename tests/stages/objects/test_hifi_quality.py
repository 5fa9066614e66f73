"""HiFi-123's refinement with the embedded network: what the reference view has is not lost."""

from dataclasses import replace

import pytest
from lift123.pipelines import hifi123
from lift123.pipelines.loaders import embedded
from lift123.pipelines.metrics.image import psnr
from lift123.pipelines.stages.inputs.reference import ReferenceView
from lift123.pipelines.stages.objects.import_mesh import ImportConfig, import_mesh
from lift123.pipelines.stages.objects.refine_mesh import refine_mesh
from lift123.pipelines.stages.results.render_views import render_scene
from lift123.pipelines.toybox.objects import heldout_seed, make_object
from lift123.pipelines.toybox.render import reference_camera, render_toy

PRESET, SIZE = hifi123.QUICKSTART, 64


@pytest.fixture(scope="module")
def reference():
    toy = make_object(heldout_seed(4))
    return ReferenceView(render_toy(toy, reference_camera(SIZE)), toy.caption), toy.mesh


def likeness(scene, reference) -> float:
    """dB at the reference view, where the picture has the object for certain."""
    shown = render_scene(scene, reference.camera, want_normal=False, supersample=2).composite(1.0)
    inside = (reference.views.alpha > 0.99).float()
    return float(psnr(shown, reference.on_background()[None], inside))


def test_the_reference_view_is_not_spoiled_though_it_was_fitted_before(reference):
    """The preset's own weights and guide, fewer targets; the start already shows the picture as well as it can."""
    view, mesh = reference
    short = replace(PRESET, mesh=replace(PRESET.mesh, size=SIZE, reference_size=SIZE, iterations=24, preview_every=0),
                    rgsd=replace(PRESET.rgsd, slots=2, reuse=6))
    start = import_mesh(mesh, view, ImportConfig(colors="picture", iterations=20, samples=1024).with_detail(64))
    fitted = refine_mesh(None, start, short.mesh)
    fitted = replace(fitted, meta={**fitted.meta, "step": fitted.meta["total"]})
    prior = hifi123.refine_prior(view, embedded.load_embedded(), short)
    done = refine_mesh(prior, fitted, short.mesh)
    before, after = likeness(fitted, view), likeness(done, view)
    assert before > likeness(start, view) + 1, "the fit is one"
    assert after >= before, (before, after)
    assert prior.tally["fixed"].visits == prior.tally["random"].visits == 12
