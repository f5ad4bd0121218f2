"""How much memory this process holds, and how much it can still take."""

from pathlib import Path


def free_memory() -> int:
    """Bytes this process can still take: the machine's, its container's or its own limit's; 4 GiB where unknown."""
    free = _left_to_process()
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            free.append(int(line.split()[1]) * 1024)
    limit, used = _lines("/sys/fs/cgroup/memory.max"), _lines("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0].isdigit():
        # What the kernel caches of files counts as used but is given back on demand.
        stat = dict(line.split() for line in _lines("/sys/fs/cgroup/memory.stat"))
        free.append(int(limit[0]) - int(used[0]) + int(stat.get("inactive_file", 0)))
    return max(min(free), 0) if free else 4 << 30


def peak() -> int:
    """The most memory that this process has held at once, in bytes; 0 where the system does not say."""
    return _status("VmHWM")


def resident() -> int:
    """The memory that this process holds now, in bytes; 0 where the system does not say."""
    return _status("VmRSS")


def _status(name: str) -> int:
    # Not resource.getrusage: its peak of a process is at least that of the one that started it.
    lines = _lines("/proc/self/status")
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _left_to_process() -> list[int]:
    """What a limit on the address space (ulimit -v) leaves to this process; nothing where there is none."""
    try:
        import resource
    except ImportError:  # not on Windows
        return []
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _lines("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not used:
        return []
    return [limit - int(used[0].split()[0]) * resource.getpagesize()]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
