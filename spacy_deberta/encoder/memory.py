"""Memory of a pass that the next one finds again."""

from __future__ import annotations

from functools import cache

import torch

LARGEST_KEPT = 2**25 - 2**16  # bytes; glibc gives larger blocks back to the system in any case


@cache
def keep_freed_memory() -> None:
    """Teach the C library not to hand back the blocks of a pass, only to ask for them again.

    glibc takes large blocks from the system one by one, and hands them back when they are freed, so
    that each pass pays for tens of thousands of fresh pages: 40,000 at 8 x 128 of v3-base's size, a
    tenth of its time there, and next to nothing with blocks of under a MiB. It raises its limits to
    the largest such block that was freed so far: one is freed here, once in a process. From then on
    up to twice its size, 64 MB, stays with the process. Other C libraries ignore it.

    Source: mallopt(3), M_MMAP_THRESHOLD, "dynamic adjustment".
    """
    torch.empty(LARGEST_KEPT, dtype=torch.uint8)
