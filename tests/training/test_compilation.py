"""A compiler is used where it makes a step of the run shorter, and never changes what is learnt."""

import pytest
import torch
from torch import nn

from medseg.losses import build_loss
from medseg.runtime.device import Device
from medseg.training.compilation import BUILD_S, LEAST_GAIN, compile_where_faster, is_worth_a_trial
from medseg.training.distributed import fabric_on
from medseg.training.optimizer import build_optimizer
from medseg.training.recipe import Recipe
from medseg.training.step import TrainingStep
from toy_dataset import TOY_PLAN

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Device(torch.device("cpu"), None, "CPU, float32")


class Timed:
    """A network and its compiled form, on a clock of our own."""

    def __init__(self, plain_s, compiled_s, build_s=0.0):
        self.now, self.plain_s, self.compiled_s, self.build_s = 0.0, plain_s, compiled_s, build_s
        network = nn.Sequential(nn.Conv3d(1, 3, 3, padding=1), nn.BatchNorm3d(3))
        self.network = network
        network.register_forward_pre_hook(lambda *_: self.tick(self.plain_s))
        fabric, recipe = fabric_on(CPU), Recipe()
        module, optimizer = fabric.setup(network, build_optimizer(network, recipe, fused=False))
        loss = build_loss(TOY_PLAN)
        self.step = TrainingStep(fabric, module, optimizer, loss, TOY_PLAN, recipe, CPU)
        self.sentences = []

    def tick(self, seconds):
        self.now += seconds

    def compiled(self, network):
        self.tick(self.build_s)

        def forward(image):
            self.tick(self.compiled_s)
            for layer in network:
                image = layer(image)
            return image

        return forward

    def gradients(self):
        torch.manual_seed(0)
        image, labels = torch.randn(2, 1, 8, 8, 8), torch.randint(0, 3, (2, 8, 8, 8))
        return self.step.gradients(image, labels, seed=1, tell=self.sentences.append)

    def attempt(self, compiler=None):
        compile_where_faster(
            self.step,
            self.gradients,
            tell=self.sentences.append,
            compiler=compiler or self.compiled,
            clock=lambda: self.now,
        )


def test_a_faster_form_is_taken_and_gives_the_same_gradients():
    timed = Timed(0.1, 0.05)
    before = timed.gradients()
    plain = [weight.grad.clone() for weight in timed.network.parameters()]
    statistics = timed.network[1].running_mean.clone()
    timed.attempt()
    assert timed.step.forward is not timed.step.module
    assert timed.sentences[0].endswith("a step takes 50 ms in place of 100 ms.")
    assert torch.equal(timed.network[1].running_mean, statistics)
    torch.testing.assert_close(timed.gradients(), before)
    for weight, grad in zip(timed.network.parameters(), plain, strict=True):
        torch.testing.assert_close(weight.grad, grad)


def test_a_form_that_is_hardly_faster_is_left_out():
    timed = Timed(0.1, 0.095)
    timed.attempt()
    assert timed.step.forward is timed.step.module
    assert timed.sentences == [
        "The network is trained without a compiler: with one a step takes 95 ms in place of 100 ms."
    ]


def test_a_compiler_that_fails_costs_nothing():
    timed = Timed(0.1, 0.05)

    def fails(network):
        raise RuntimeError("no C++ compiler found\nin /usr/bin")

    timed.attempt(fails)
    assert timed.step.forward is timed.step.module
    assert timed.sentences == [
        "The network could not be compiled (no C++ compiler found); it is trained without."
    ]
    assert timed.gradients().isfinite().all()


def test_a_cpu_and_a_short_run_are_not_tried():
    step = Timed(0.1, 0.05).step
    long = 2 * BUILD_S / LEAST_GAIN
    assert not is_worth_a_trial(step, long)
    step.device = Device(torch.device("cuda"), torch.bfloat16, "a GPU")
    assert is_worth_a_trial(step, long)
    assert not is_worth_a_trial(step, long / 4)
