"""Arrays on their way to a kernel: one type, whatever a source's look like."""

from __future__ import annotations

import numpy as np

from kernels import input_tensor, phash
from kernels.arrays import read_only
from kernels.input_tensor import fill_input, fit_image
from kernels.phash import phash64


def test_what_is_contiguous_is_not_copied_and_stays_its_owners() -> None:
    array = np.arange(6, dtype=np.uint16)
    seen = read_only(array)
    assert np.shares_memory(seen, array)
    assert (seen.flags.writeable, array.flags.writeable) == (False, True)
    assert read_only(array[::2]).tolist() == [0, 2, 4]


def test_pictures_of_any_layout_meet_the_compiled_kernels() -> None:
    plain = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    received = np.frombuffer(plain.tobytes(), np.uint8).reshape(plain.shape)
    mirrored = plain[:, ::-1].copy()[:, ::-1]
    fit = fit_image(60, 40, 24, 16, "stretch")
    tensors = np.zeros((3, 1, 3, 16, 24), np.float32)
    fill_input(plain, fit, tensors[0], bgr=True)
    expected = phash64(plain)
    kernels = input_tensor._fill, phash._mean_luma
    compiled = [len(kernel.signatures) for kernel in kernels]
    for pixels, tensor in zip((received, mirrored), tensors[1:], strict=True):
        fill_input(pixels, fit, tensor, bgr=True)
        assert (tensor == tensors[0]).all()
        assert phash64(pixels) == expected
    assert [len(kernel.signatures) for kernel in kernels] == compiled
