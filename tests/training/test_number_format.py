import pytest
import torch

from medseg.runtime import device


@pytest.fixture
def processor(monkeypatch):
    """A processor with bfloat16, and how much of it torch may use."""
    device._cpu.cache_clear()
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    yield lambda name: monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: name)
    device._cpu.cache_clear()


@pytest.mark.parametrize(("capability", "half"), [("AVX512", torch.bfloat16), ("AVX2", None)])
def test_bfloat16_is_for_a_processor_that_may_use_it(processor, capability, half):
    processor(capability)
    assert device.choose_device("cpu").half is half
