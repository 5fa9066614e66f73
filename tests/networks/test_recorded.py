"""Recorded calls of networks, with a recorder that keeps one memory as a CUDA graph does."""

import torch
from lift123.pipelines.networks.latent import LatentRuntime
from lift123.pipelines.networks.noise import scaled_linear_alphas
from lift123.pipelines.networks.recorded import MOST, WARM, Recorded, recorder_for

Conv, Linear = torch.nn.Conv2d, torch.nn.Linear


class OneMemory:
    """A recorder: inputs, results and gradients of all replays lie in the same tensors."""

    def __init__(self):
        self.made = 0

    def __call__(self, call, examples):
        self.made += 1
        kept, memory = examples, {}

        class Replay(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *inputs):
                with torch.no_grad():
                    for place, value in zip(kept, inputs):
                        place.copy_(value)
                with torch.set_grad_enabled(any(x.requires_grad for x in kept)):
                    memory["graph"] = call(*kept)
                memory.setdefault("out", memory["graph"].detach().clone()).copy_(memory["graph"].detach())
                return memory["out"].detach()

            @staticmethod
            def backward(ctx, grad):
                wanted = [x for x in kept if x.requires_grad]
                found = dict(zip(map(id, wanted), torch.autograd.grad(memory["graph"], wanted, grad)))
                for key, value in found.items():
                    memory.setdefault(key, value.clone()).copy_(value)
                return tuple(memory.get(id(x)) for x in kept)

        return Replay.apply


def _net():
    return torch.nn.Sequential(Linear(3, 4), torch.nn.Tanh(), Linear(4, 2)).requires_grad_(False)


def _value_and_gradient(run, x):
    x = x.clone().requires_grad_()
    out = run(x)
    return out.detach(), torch.autograd.grad(out.square().sum(), x)[0]


def test_replays_give_the_same_values_and_gradients():
    net, recorder = _net(), OneMemory()
    recorded = Recorded("net", recorder)
    for step in range(WARM + 3):
        x = torch.randn(5, 3)
        got = _value_and_gradient(lambda x: recorded("call", net, (x,), net), x)
        assert all(map(torch.equal, got, _value_and_gradient(net, x)))
        assert recorder.made == (step >= WARM)


def test_results_survive_the_next_replay_and_a_busy_recording_steps_aside():
    net, recorder = _net(), OneMemory()
    recorded = Recorded("net", recorder)
    for _ in range(WARM + 1):
        _value_and_gradient(lambda x: recorded("call", net, (x,), net), torch.randn(5, 3))
    first, second = torch.randn(5, 3).requires_grad_(), torch.randn(5, 3).requires_grad_()
    one, two = recorded("call", net, (first,), net), recorded("call", net, (second,), net)
    grads = torch.autograd.grad(one.square().sum() + two.square().sum(), (first, second))
    for x, out, grad in ((first, one, grads[0]), (second, two, grads[1])):
        value, wanted = _value_and_gradient(net, x.detach())
        assert torch.equal(out.detach(), value) and torch.equal(grad, wanted)
    del one, two
    assert recorder.made == 1
    with torch.no_grad():
        for _ in range(WARM + 1):
            kept = recorded("call", net, (first,), net)
        wanted = kept.clone()
        recorded("call", net, (second,), net)
        assert torch.equal(kept, wanted) and recorder.made == 2


def test_moved_weights_and_many_shapes_and_failures():
    net, recorder = _net(), OneMemory()
    recorded = Recorded("net", recorder)
    x = torch.randn(5, 3)
    with torch.no_grad():
        for _ in range(WARM + 1):
            recorded("call", net, (x,), net)
        net[0].weight.data = net[0].weight.data * 2  # elsewhere, and other
        assert torch.equal(recorded("call", net, (x,), net), net(x))
        for count in range(2 * MOST):
            for _ in range(WARM + 1):
                assert torch.equal(recorded("call", net, (x.repeat(count, 1),), net), net(x.repeat(count, 1)))
        assert recorder.made <= 1 + MOST

        def refuses(call, examples):
            raise RuntimeError("no")

        failing = Recorded("net", refuses)
        for _ in range(WARM + 2):
            assert torch.equal(failing("call", net, (x,), net), net(x))
        assert failing.recorder is None


def test_only_cuda_has_a_recorder(monkeypatch):
    assert recorder_for("cpu") is None and recorder_for("cuda") is not None
    monkeypatch.setenv("LIFT123_GRAPHS", "0")
    assert recorder_for("cuda") is None


class _Unet(torch.nn.Module):
    """As diffusers' networks are called: everything it is told matters."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        self.mix = Conv(3, 2, 1).requires_grad_(False)

    def forward(self, x, t, context, class_labels=None, added_cond_kwargs=None):
        told = context.mean((1, 2)) + t / 1000 + class_labels.sum(1) + added_cond_kwargs["text_embeds"].mean(1)
        return type("Answer", (), {"sample": self.mix(x) + told[:, None, None, None]})


def test_guided_noise_is_the_same_when_replayed():
    plain = LatentRuntime(_Unet(), torch.nn.Identity(), scaled_linear_alphas(), "v_prediction", 8)
    recorder = OneMemory()
    told = LatentRuntime(plain.unet, plain.vae, plain.alphas_cumprod, "v_prediction", 8, Recorded("unet", recorder))
    for _ in range(WARM + 3):
        noisy, t = torch.randn(2, 2, 4, 4), torch.randint(0, 1000, (2,))
        sides = [{"context": torch.randn(2, 3, 5), "extra": torch.randn(2, 1, 4, 4), "labels": torch.randn(2, 4),
                  "added": {"text_embeds": torch.randn(2, 6), "time_ids": torch.randn(2, 6)}} for _ in range(2)]
        assert torch.equal(plain.guided_noise(noisy, t, *sides, 3.0), told.guided_noise(noisy, t, *sides, 3.0))
    assert recorder.made == 1
