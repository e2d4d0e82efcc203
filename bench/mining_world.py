"""A store of clips as the mining bench needs it: made by the database itself, vectors by COPY.

Vectors lie near a plane of 32 dimensions in 256, as a network's embeddings do; uniformly random
ones would make any index that approximates look worse than it is. `min_ttc_s` is uniform in
0..1 and independent of them, so that `min_ttc_s < 0.01` asks for 1 % of all clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg
import sqlalchemy as sa

from cloud_ingest.postgres import EmbeddedPostgres
from contracts.samples import Float32s

SPACE = "5" * 64
DIMENSIONS = 256
_INTRINSIC = 32
_NOISE = 0.25
_BLOCK = 20_000
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)

_IDENTITIES = """
INSERT INTO clip_identity (clip_id, size_bytes, received_utc)
SELECT lpad(to_hex(i), 64, '0'), 1, '2026-01-01' FROM generate_series({first}, {last}) AS i
"""
_CLIPS = """
INSERT INTO clips (
    clip_id, vehicle_id, event_key, drive_id, start_utc, duration_s, weather, tod, road_type,
    lat_deg, lon_deg, h3, stream, safety, causes, cause_kinds, detected_objects, mean_speed_mps,
    max_speed_mps, max_decel_mps2, min_ttc_s, image_frames, lidar_sweeps, size_bytes,
    model_digest, software_version, state, received_utc, manifest, caption)
SELECT
    lpad(to_hex(i), 64, '0'), 'car-' || i % 1000, 'event-' || i, 'drive-' || i / 50,
    timestamptz '2026-01-01' + i * interval '7 s', 20,
    (ARRAY['clear', 'clear', 'clear', 'clear', 'clear', 'clear', 'clear', 'rain', 'rain', 'fog'])
        [1 + (hashint8(i) & 7)],
    (ARRAY['day', 'day', 'day', 'dusk', 'night', 'night', 'glare', 'day'])
        [1 + (hashint8(i * 3) & 7)],
    (ARRAY['urban', 'suburban', 'rural', 'motorway'])[1 + (hashint8(i * 5) & 3)],
    47 + random(), 8 + random(), '891f8d7a49bffff', 'triggered', i % 20 = 0,
    ARRAY['hard-brake'], ARRAY['hard_brake'],
    CASE WHEN i % 100 = 7 THEN ARRAY['car', 'cyclist'] ELSE ARRAY['car', 'pedestrian'] END,
    10 + random(), 14 + random(), 8 * random(), random(), 200, 200, 50000000,
    '{space}', '0.1.0', 'ready', '2026-01-01', '{{}}',
    'A drive in the city by day, in clear weather; cars and pedestrians were seen.'
FROM generate_series({first}, {last}) AS i
"""


def vectors(count: int, seed: int = 11) -> Iterator[Float32s]:
    """Unit vectors float32 [.., 256] in blocks, `count` in all."""
    rng = np.random.default_rng(seed)
    plane = np.random.default_rng(7).normal(size=(_INTRINSIC, DIMENSIONS)).astype(np.float32)
    plane /= np.sqrt(np.float32(DIMENSIONS))
    noise = np.float32(_NOISE * np.sqrt(_INTRINSIC / DIMENSIONS))
    for first in range(0, count, _BLOCK):
        size = min(_BLOCK, count - first)
        block = rng.standard_normal((size, _INTRINSIC), dtype=np.float32) @ plane
        block += noise * rng.standard_normal((size, DIMENSIONS), dtype=np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def add_clips(url: str, first: int, last: int) -> None:
    """Clips numbered `first` to `last`, both included, without vectors."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text(_IDENTITIES.format(first=first, last=last)))
        connection.execute(sa.text(_CLIPS.format(first=first, last=last, space=SPACE)))
    engine.dispose()


def copy_vectors(url: str, blocks: Iterator[Float32s], first: int = 1) -> None:
    """Vectors of the clips from number `first` on, by COPY BINARY."""
    with (
        psycopg.connect(url.replace("+psycopg", "")) as connection,
        connection.cursor() as cursor,
        cursor.copy(
            "COPY embeddings (clip_id, model_digest, vector) FROM STDIN (FORMAT BINARY)"
        ) as copy,
    ):
        copy.write(_SIGNATURE)
        for block in blocks:
            copy.write(_rows(block, first))
            first += len(block)
        copy.write(b"\xff\xff")


def _rows(block: Float32s, first: int) -> bytes:
    """The block as PostgreSQL's binary rows: field count, then length and bytes of each."""
    row = np.dtype(
        [("fields", ">i2"), ("id_bytes", ">i4"), ("id", "S64"), ("space_bytes", ">i4"),
         ("space", "S64"), ("vector_bytes", ">i4"), ("dimensions", ">i2"), ("unused", ">i2"),
         ("values", ">f4", (block.shape[1],))]
    )  # fmt: skip
    rows = np.zeros(len(block), row)
    rows["fields"], rows["id_bytes"], rows["space_bytes"] = 3, 64, 64
    rows["id"] = [b"%064x" % number for number in range(first, first + len(block))]
    rows["space"] = SPACE.encode()
    rows["vector_bytes"], rows["dimensions"] = 4 + 4 * block.shape[1], block.shape[1]
    rows["values"] = block
    return rows.tobytes()


def start_database(folder: Path) -> EmbeddedPostgres:
    """A migrated database of its own, with the memory that a server for a million clips gets."""
    from cloud_ingest.database import migrate

    postgres = EmbeddedPostgres(folder)
    postgres.start()
    engine = sa.create_engine(postgres.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for name, value in (
            ("shared_buffers", "2GB"), ("max_wal_size", "2GB"), ("fsync", "off"),
            ("maintenance_work_mem", "2GB"), ("max_parallel_maintenance_workers", "1"),
            ("wal_level", "minimal"), ("max_wal_senders", "0"),
            ("full_page_writes", "off"),
            ("max_parallel_workers_per_gather", "0"), ("autovacuum", "off"),
        ):  # fmt: skip
            connection.execute(sa.text(f"ALTER SYSTEM SET {name} = '{value}'"))
    engine.dispose()
    postgres.stop()
    postgres.start()
    migrate(postgres.url)
    return postgres


def settle(url: str) -> None:
    """Vacuum and analyse, as autovacuum does to a store at rest."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for table in ("clips", "embeddings"):
            connection.execute(sa.text(f"VACUUM (ANALYZE) {table}"))
    engine.dispose()
