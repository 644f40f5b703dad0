"""Made rows, bit for bit those of benches/linear/made.rs, which says what they are."""

import numpy as np

ROW_SEED, CENTRE_SEED = 1, 2
NOISE_SCALE, CENTRE_SCALE = np.float32(0.006766), np.float32(0.35)
STRIDE = 2_654_435_761
BLOCK_ROWS = 4096


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def noise(seed, rows, features):
    """Near-normal f32 numbers of deviation 1, one row for each of `rows`."""
    hashes = -(-features // 2)
    place = rows[:, None].astype(np.uint64) * np.uint64(hashes) + np.arange(hashes, dtype=np.uint64)
    hashed = mix(place * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(seed))
    low_bytes = np.uint64(0x00FF00FF00FF00FF)
    pairs = (hashed & low_bytes) + ((hashed >> np.uint64(8)) & low_bytes)
    sums = pairs.view(np.uint16).reshape(len(rows), 2 * hashes, 2).sum(axis=2, dtype=np.int32)
    return (sums[:, :features] - np.int32(510)).astype(np.float32) * NOISE_SCALE


def class_ends(rows, classes, long_tail):
    counts = [rows // classes] * classes
    if long_tail:
        tail = lambda k: [max(k // c, 2) for c in range(1, classes + 1)]
        low, high = 0, rows
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if sum(tail(middle)) <= rows else (low, middle)
        counts = tail(low)
    counts[0] += max(rows - sum(counts), 0)
    return np.cumsum(counts)


def make(spec):
    """Features (f32 or f16) and class codes of `ROWS,FEATURES,CLASSES,zipf|even,f32|f16`."""
    rows, features, classes, counts, dtype = spec.split(",")
    rows, features, classes = int(rows), int(features), int(classes)
    member = np.arange(rows, dtype=np.uint64) * np.uint64(STRIDE) % np.uint64(rows)
    labels = np.searchsorted(class_ends(rows, classes, counts == "zipf"), member, side="right")
    one = np.float32(1)
    scales = one / np.sqrt(one + np.arange(features, dtype=np.float32) / np.float32(16))
    centres = CENTRE_SCALE * noise(CENTRE_SEED, np.arange(classes), features)
    out = np.empty((rows, features), np.float16 if dtype == "f16" else np.float32)
    for start in range(0, rows, BLOCK_ROWS):
        block = np.arange(start, min(start + BLOCK_ROWS, rows))
        out[block] = np.float32(0.5) + scales * (centres[labels[block]] + noise(ROW_SEED, block, features))
    return out, labels
