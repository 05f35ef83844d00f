"""What every room stands on: errors, files, hashing, progress, contracts, settings."""
