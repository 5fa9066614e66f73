"""The training loop shared by all embedded networks: AdamW, cosine rate, EMA, resume, a CSV log."""

import copy
import math
import time
from pathlib import Path

import torch


def train(module, loss_of_batch, steps, out: Path, rate=1e-3, decay=0.999, warmup=100, minutes=None, log=print, anew=False,
          optimizer=None):
    """Trains ``module`` and returns its exponential moving average.

    loss_of_batch(step) -> scalar loss; it may use ``module``.  out: folder of checkpoint and log.
    The rate warms up linearly and then follows a cosine to zero at ``steps``.
    minutes: stops at this many minutes of training (all runs together); the cosine then follows the
    clock instead of the step count, so that the run always ends at rate zero.
    anew: begins a second round from the last checkpoint: the rate starts over, steps and minutes are that round's own.
    Said once; a round that was interrupted goes on without it.
    optimizer: of some of the module's parameters in the place of AdamW over all; its rate follows ``rate``, too.
    """
    out.mkdir(parents=True, exist_ok=True)
    if optimizer is None:
        optimizer = torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    ema, first, spent = copy.deepcopy(module).requires_grad_(False), 0, 0.0
    round_step, round_spent = 0, 0.0  # where the round began
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=next(module.parameters()).device)
        module.load_state_dict(state["module"])
        ema.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        first, spent = state["step"], state["spent"]
        round_step, round_spent = (first, spent) if anew else state.get("round", (0, 0.0))
    running, last_save = None, time.time()
    last = round_step + steps
    for step in range(first, last):
        begun, done = time.time(), step - round_step
        progress = (spent - round_spent) / (minutes * 60) if minutes else done / steps
        if progress >= 1:
            break
        now = rate * min(1, (done + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = now
        loss = loss_of_batch(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        blend = min(decay, (step + 1) / (step + 10))
        with torch.no_grad():
            for slow, fast in zip(ema.state_dict().values(), module.state_dict().values(), strict=True):
                if slow.is_floating_point():
                    slow.lerp_(fast, 1 - blend)
        spent += time.time() - begun
        value = float(loss.detach())
        running = value if running is None else 0.98 * running + 0.02 * value
        if (step + 1) % 50 == 0:
            log(f"{out.name} step {step + 1} loss {running:.4f} rate {now:.2e} {spent / (step + 1):.3f} s/step", flush=True)
            with open(out / "curve.csv", "a", encoding="utf-8") as curve:
                curve.write(f"{step + 1},{running:.6f},{spent:.1f}\n")
        if time.time() - last_save > 120 or step + 1 == last:
            _save(checkpoint, module, ema, optimizer, step + 1, spent, (round_step, round_spent))
            last_save = time.time()
    _save(checkpoint, module, ema, optimizer, step + 1 if last > first else first, spent, (round_step, round_spent))
    return ema


def _save(path, module, ema, optimizer, step, spent, begun):
    state = {"module": module.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict()}
    temporary = path.with_suffix(".new")
    torch.save({**state, "step": step, "spent": spent, "round": begun}, temporary)
    temporary.replace(path)
