"""What a measurement ran on, in one line: every table carries it."""

import os
import platform
import time
from pathlib import Path


def describe_machine(threads: int) -> str:
    """Processor, cores, memory, load before the measurement, Python, date."""
    load = os.getloadavg()[0]
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory()}, load {load:.1f} before the start, "
        f"{threads} threads, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"
    )


def _processor() -> str:
    for name in _values("/proc/cpuinfo", "model name"):
        return name
    return platform.processor() or platform.machine()


def _memory() -> str:
    for size in _values("/proc/meminfo", "MemTotal"):
        return f"{int(size.split()[0]) / 2**20:.0f} GB"
    return "memory unknown"


def _values(file: str, key: str) -> list[str]:
    """What a /proc file says about a key; nothing where there is no such file."""
    if not Path(file).exists():
        return []
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return [line.split(":", 1)[1].strip() for line in lines if line.startswith(key)]
