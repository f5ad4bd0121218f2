"""The lowest version of each dependency that pyproject.toml allows, as pip's constraints: what `make lowest` tests.

python tests/support/lowest.py > build/lowest.txt
"""

import re
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
REQUIREMENT = re.compile(r"([\w.-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)")


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version without the zeros at its end, to compare 3.1 with 3.1.6 and 4.0 with 4."""
    parts = [int(part) for part in re.findall(r"\d+", version)]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def floors(project: dict) -> dict[str, str]:
    """Name -> lowest allowed version: the highest floor where extras name a package more than once.

    Raises ValueError for a dependency without one: then nobody knows which versions work.
    """
    requirements = chain(project["dependencies"], *project.get("optional-dependencies", {}).values())
    lowest: dict[str, str] = {}
    for requirement in requirements:
        name, versions = REQUIREMENT.match(requirement).groups()
        floor = re.search(r">=\s*([\w.]+)", versions)
        if floor is None:
            raise ValueError(f"expected a lowest version (NAME>=VERSION), found {requirement!r} in pyproject.toml")
        key = re.sub(r"[-_.]+", "-", name).lower()
        lowest[key] = max(lowest.get(key, "0"), floor[1], key=numbers)
    return dict(sorted(lowest.items()))


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    try:
        print("\n".join(f"{name}=={version}" for name, version in floors(project).items()))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
