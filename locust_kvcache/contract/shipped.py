"""Finds the files that come with the product: at the top of a checkout, or inside the package where pip installed it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = ("scenarios", "locustfiles", "configs")


def checkout() -> Path | None:
    """The checkout's root if the package is used from one, else None."""
    root = PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() and (root / "scenarios").is_dir() else None


def shipped(name: str) -> Path:
    """The folder `name` (one of FOLDERS, or docker-compose.yml and other single files) as it was shipped."""
    return (checkout() or PACKAGE / "shipped") / name
