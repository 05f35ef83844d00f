"""Exports of indexes to vector databases, each of which has one module."""
