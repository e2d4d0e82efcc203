"""Perceptual hashes: stable where a scene is the same, apart where it is not."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.stats import spearmanr

from contracts.errors import InputError
from kernels.phash import hamming_distance, hamming_scan, phash64


@pytest.fixture(scope="module")
def frames(shared_data: Path) -> list[Image.Image]:
    """Every sixth frame of the approach to a light."""
    paths = sorted((shared_data / "kitti_approach78" / "image_02").glob("**/*.png"))
    found = []
    for path in paths[::6]:
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    assert len(found) >= 10
    return found


def hashed(image: Image.Image) -> int:
    return phash64(np.asarray(image))


def scene(seed: int, height: int = 180, width: int = 320) -> np.ndarray:
    """A smooth random scene, uint8 [h, w, 3]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def defined_hash(image: np.ndarray) -> int:
    """The hash straight from its definition, in numpy alone."""

    def sampled(extent: int, wanted: int) -> list[slice]:
        begins = [cell * extent // 32 for cell in range(32)]
        ends = [max((cell + 1) * extent // 32, begins[cell] + 1) for cell in range(32)]
        parts = zip(begins, ends, strict=True)
        return [slice(begin, end, -(-(end - begin) // wanted)) for begin, end in parts]

    weights = np.array([1 << 16] if image.ndim == 2 else [19595, 38470, 7471])
    luma = image.reshape(*image.shape[:2], len(weights)).astype(np.int64) @ weights
    rows, columns = sampled(image.shape[0], 8), sampled(image.shape[1], 12)
    cells = np.array([[luma[r, c].sum() // luma[r, c].size for c in columns] for r in rows])
    steps = np.arange(8)[:, None] * (2 * np.arange(32) + 1)
    cosines = np.rint(np.cos(steps * np.pi / 64) * 2**14).astype(np.int64)
    low = (((cosines @ cells) >> 14) @ cosines.T).ravel()
    ordered = np.sort(low)
    above = 2 * low > ordered[31] + ordered[32]
    return int("".join("1" if bit else "0" for bit in above), 2)


@given(st.integers(0, 2**31), st.integers(8, 700), st.integers(8, 90), st.booleans())
@settings(deadline=None, max_examples=80)
def test_the_hash_is_that_of_its_definition(seed: int, high: int, wide: int, gray: bool) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (high, wide) if gray else (high, wide, 3), dtype=np.uint8)
    assert phash64(image) == defined_hash(image)
    assert phash64(image | np.uint8(0xF0)) == defined_hash(image | np.uint8(0xF0))


def test_brightness_leaves_the_hash(frames: list[Image.Image]) -> None:
    for frame in frames:
        darker = frame.point(lambda level: level * 0.7)
        assert hamming_distance(hashed(frame), hashed(darker)) <= 2


def test_jpeg_leaves_the_hash(frames: list[Image.Image]) -> None:
    for frame in frames:
        stored = io.BytesIO()
        frame.save(stored, "JPEG", quality=60)
        with Image.open(stored) as again:
            assert hamming_distance(hashed(frame), hashed(again)) <= 4


def test_blur_and_scale_leave_the_hash(frames: list[Image.Image]) -> None:
    for frame in frames:
        blurred = frame.filter(ImageFilter.GaussianBlur(1.5))
        assert hamming_distance(hashed(frame), hashed(blurred)) <= 4
        half = frame.resize((frame.width // 2, frame.height // 2), Image.Resampling.BOX)
        assert hamming_distance(hashed(frame), hashed(half)) <= 6


def test_distances_rank_as_imagehash_ranks_them(frames: list[Image.Image]) -> None:
    ours = [hashed(frame) for frame in frames]
    theirs = [int(str(imagehash.phash(frame)), 16) for frame in frames]
    bits = [hamming_distance(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert max(bits) <= 8
    pairs = [(i, j) for i in range(len(ours)) for j in range(i)]
    correlation = spearmanr(
        [hamming_distance(ours[i], ours[j]) for i, j in pairs],
        [hamming_distance(theirs[i], theirs[j]) for i, j in pairs],
    ).statistic
    assert correlation >= 0.9


def test_other_scenes_are_far_apart() -> None:
    hashes = [phash64(scene(seed)) for seed in range(20)]
    apart = [hamming_distance(a, b) for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) >= 12
    assert 28 <= np.mean(apart) <= 36


def test_gray_and_rgb_of_one_frame_agree() -> None:
    for seed in range(10):
        image = scene(seed)
        gray = np.asarray(Image.fromarray(image).convert("L"))
        assert hamming_distance(phash64(image), phash64(gray)) <= 2


def test_a_view_that_is_not_contiguous_hashes_as_its_copy() -> None:
    image = scene(3)
    flipped = image[:, ::-1]
    assert phash64(flipped) == phash64(flipped.copy())
    assert phash64(flipped) != phash64(image)


@given(st.integers(8, 90), st.integers(8, 90), st.integers(0, 255))
@settings(deadline=None, max_examples=60)
def test_any_size_hashes_and_a_flat_frame_sets_one_bit(height: int, width: int, level: int) -> None:
    flat = np.full((height, width), level, np.uint8)
    assert phash64(flat) == (0 if level == 0 else 1 << 63)
    assert 0 <= phash64(scene(level, height, width)) < 1 << 64


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 20), np.float32),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros(400, np.uint8),
        np.zeros((7, 20), np.uint8),
        np.zeros((20, 0, 3), np.uint8),
    ],
)
def test_other_images_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError):
        phash64(image)


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=60),
    st.integers(0, 2**64 - 1),
    st.integers(-1, 70),
    st.integers(1, 60),
)
@settings(deadline=None, max_examples=150)
def test_the_scan_finds_what_counting_bits_finds(
    words: list[int], query: int, limit: int, copies: int
) -> None:
    hashes = np.array(words * copies, np.uint64)
    indices, distances = hamming_scan(hashes, query, limit)
    expected = [
        (index, hamming_distance(word, query))
        for index, word in enumerate(words * copies)
        if hamming_distance(word, query) <= limit
    ]
    assert list(zip(indices.tolist(), distances.tolist(), strict=True)) == expected


def test_the_scan_refuses_other_hashes() -> None:
    with pytest.raises(InputError):
        hamming_scan(np.zeros(3, np.int64), 0, 1)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        hamming_scan(np.zeros(3, np.uint64), -1, 1)
    with pytest.raises(InputError):
        hamming_scan(np.zeros(3, np.uint64), 1 << 64, 1)
