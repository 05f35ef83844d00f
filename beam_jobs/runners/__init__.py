"""Runners of Beam pipelines: `select.run_pipeline` runs one wherever Beam's flags say."""
