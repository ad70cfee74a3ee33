"""Computes the largest possible gain of a KV cache from model sizes and machine speeds, in bytes, FLOP and seconds.

Source: the FLOP count of a decoder with causal attention.
"""

from __future__ import annotations


def prefill_flop(prompt_tokens: float, cached_tokens: float, active_parameters: float, attention_flop_per_token2: float) -> float:
    """F(n, p) = 2 * N_active * (n - p) + c_att * (n^2 - p^2) / 2; c_att = 4 * layers * heads * head_dim."""
    linear = 2 * active_parameters * (prompt_tokens - cached_tokens)
    return linear + attention_flop_per_token2 * (prompt_tokens**2 - cached_tokens**2) / 2


def break_even_bandwidth(kv_bytes_per_token: float, prefill_tokens_per_s: float) -> float:
    """Bytes per second below which fetching a token's KV takes longer than computing it: B = kappa * r_p."""
    return kv_bytes_per_token * prefill_tokens_per_s


def largest_reduction(compute_s: float, cold_s: float, load_s: float, overlapped: bool = False) -> float:
    """R_max = 1 - T_hit / T_cold. T_hit is load + compute of what is left, or the longer of both where layers overlap them."""
    hit_s = max(load_s, compute_s) if overlapped else load_s + compute_s
    return 1 - hit_s / cold_s


def break_even_prefix(prefill_s_per_token: float, load_s_per_token: float, attention_s_per_token2: float) -> float | None:
    """Cached tokens beyond which loading beats computing: a p + c p^2 / 2 = b p, so p = 2 (b - a) / c; 0: always, None: never."""
    if load_s_per_token <= prefill_s_per_token:
        return 0.0
    if attention_s_per_token2 <= 0:
        return None
    return 2 * (load_s_per_token - prefill_s_per_token) / attention_s_per_token2
