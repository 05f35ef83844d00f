"""The code that every other package builds on: errors, files, hashing, progress, settings."""
