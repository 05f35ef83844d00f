"""A dataset on disk: photos and face embeddings in Parquet files."""
