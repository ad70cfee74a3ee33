"""Says which cache tiers hold the working set of a dry run."""

from __future__ import annotations

TIERS = {"gpu_tokens": "GPU", "cpu_gb": "CPU", "store_gb": "store"}


def footprint_lines(tokens: int, kv_bytes: int | None, capacity: dict[str, float]) -> list[str]:
    """The largest working set of a scenario against each tier."""
    size = f"{tokens:,} tokens" + (f" x {kv_bytes:,} bytes = {tokens * kv_bytes / 1e9:,.2f} GB" if kv_bytes else "")
    lines = [f"  working set of a round: {size}"]
    if kv_bytes is None:
        lines.append("  bytes are unknown: the model is not in configs/models.yaml, or has no kv_bytes_per_token there")
    for key, tier in TIERS.items():
        if key not in capacity:
            continue
        held, unit = capacity[key], "tokens" if key == "gpu_tokens" else "GB"
        need = tokens if key == "gpu_tokens" else tokens * kv_bytes / 1e9 if kv_bytes else None
        if need is not None:
            verdict = "fits" if need <= held else "DOES NOT FIT"
            lines.append(f"  {tier}: {need / held:.0%} of {held:,.10g} {unit}, {verdict}")
    absent = [tier for key, tier in TIERS.items() if key not in capacity]
    if absent:
        lines.append(
            f"  capacity of {', '.join(absent)}: not given (`capacity` in the deployment file; --preflight-only asks the servers)"
        )
    return lines
