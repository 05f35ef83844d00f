"""The dataset on disk: photos and faces as Parquet."""
