"""Batches as the loader gives them, for tests."""

import itertools

import torch

from medseg.runtime.device import Device
from medseg.training.loader import LoaderOptions, open_loader

CPU = Device(torch.device("cpu"), None, "CPU")


def draw_batch(cases, plan, augment, *, options, step, **how):
    """The batch of one step."""
    return draw_batches(cases, plan, augment, options=options, steps=[step], **how)[0]


def draw_batches(cases, plan, augment, *, options, steps, **how):
    """The batches of some steps, as many as there are or the first 4."""
    with open_loader(
        cases, plan, augment, options=options, device=CPU, steps=steps, how=LoaderOptions(**how)
    ) as batches:
        return list(itertools.islice(batches, 4))
