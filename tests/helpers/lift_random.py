"""A lifted view network with random weights of the size that training starts from."""

import torch
from lift123.pipelines.networks.lifted import LiftNet


def random_net(seed: int = 0) -> LiftNet:
    """Weights from a generator of their own, none of them zero."""
    net, g = LiftNet(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if p.ndim > 1:
                p.copy_(0.6 * noise / p[0].numel() ** 0.5)
            else:
                p.copy_(1 + 0.1 * noise if ("norm" in name or "last" in name) and name.endswith("weight") else 0.02 * noise)
    return net
