"""Benchmark scripts; no other package imports them."""
