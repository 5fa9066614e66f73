"""The same seed gives the same bytes, however many threads there are."""

import torch
from helpers.comfy_modules import prepare

prepare()
from helpers import fault_stages
from lift123.nodes import stages

SIZES = {"render_size": 32, "reference_size": 32, "preview_every": 0}
GIVEN = {**fault_stages.SETTINGS, **SIZES, "options": fault_stages.SMALL}


def lifted():
    """Both stages, under both embedded networks: what the scenes hold."""
    coarse = stages.NerfStage1.execute(reference=fault_stages.given(), iterations=2, seed=5, prior=fault_stages.VIEW,
                                       **GIVEN).result[0]
    fine = stages.DMTetRefine.execute(scene=coarse, iterations=1, what="both", grid=8, prior=fault_stages.TEXT,
                                      **GIVEN).result[0]
    return {**{f"nerf/{k}": v for k, v in coarse.tensors.items()}, **{f"mesh/{k}": v for k, v in fine.tensors.items()}}


def test_one_two_and_four_threads_make_the_same_scenes():
    before, made = torch.get_num_threads(), []
    try:
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            made.append(lifted())
            assert torch.get_num_threads() == count  # other packs find what they left
    finally:
        torch.set_num_threads(before)
    for other in made[1:]:
        assert other.keys() == made[0].keys()
        assert not [name for name in other if not torch.equal(other[name], made[0][name])]
