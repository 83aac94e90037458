"""Shows what this machine has, a fact in each line, then what is missing."""

from rich.console import Console

from edgecifar.errors import escaped
from edgecifar.report.tables import Column, Table, print_line, print_table

ADVICE: tuple[Column[dict], ...] = (
    Column("what is missing or slow", lambda one: one["what"], fold=24),
    Column("what mends it", lambda one: one["command"], left=True, fold=24),
)


def diagnosis(found: dict, console: Console) -> None:
    """Print a diagnosis.

    Args:
        found: see `edgecifar.doctor.diagnose`.
        console: where to print.
    """
    lines = _facts(found)
    width = max(len(key) for key, _ in lines)
    for key, text in lines:
        print_line(console, f"{key.ljust(width)}  {escaped(text)}", indent=width + 2)
    print_line(console, "")
    if found["advice"]:
        print_table(console, Table(ADVICE, found["advice"]))
    else:
        print_line(console, "nothing is missing")


def _facts(found: dict) -> list[tuple[str, str]]:
    """Each fact and its name; what is not known is left out."""
    machine, images, training = found["machine"], found["images"], found["training"]
    cameras = found["cameras"]
    facts = [
        ("edgecifar", f"{machine['edgecifar']}, Python {machine['python']}"),
        ("system", _listed(machine["os"], machine["kernel"], machine["container"])),
        ("board", machine["board"]),
        ("processor", _listed(machine["cpu"], machine["architecture"], *machine["features"])),
        ("int8", found["int8"]),
        ("threads", _threads(machine)),
        ("memory", _memory(machine)),
        ("runtimes", _versions({r["name"]: r["version"] for r in found["runtimes"]})),
        ("packages", _versions(found["packages"])),
        ("images", _images(images)),
        ("backends", _backends(training)),
        ("GPUs", _listed(*training["gpus"]) or "none that an NVIDIA driver reports"),
        ("cameras", _listed(*cameras["devices"]) or "none"),
    ]
    return [(name, text) for name, text in facts if text]


def _listed(*texts: str | None) -> str:
    return ", ".join(filter(None, texts))


def _versions(packages: dict[str, str | None]) -> str:
    return _listed(*(f"{name} {version}" for name, version in packages.items() if version))


def _threads(machine: dict) -> str:
    quota = machine["cpu_quota_cores"]
    limit = f", as its control group allows {quota:g} cores' time" if quota else ""
    return f"{machine['usable_cores']} can compute at the same time{limit}"


def _memory(machine: dict) -> str:
    if machine["memory_mib"] is None:
        return ""
    available = machine["memory_available_mib"]
    left = "" if available is None else f", {available:,} available"
    return f"{machine['memory_mib']:,} MiB{left}"


def _images(images: dict) -> str:
    files = _listed(*(f"{count} {state}" for state, count in images["files"].items()))
    free = "" if images["free_mb"] is None else f", {images['free_mb']:,} MB free"
    return f"official files: {files}, in {images['cache']}{free}"


def _backends(training: dict) -> str:
    installed = _listed(*training["backends"])
    return f"{training['chosen']} is chosen; installed: {installed or 'none'}"
