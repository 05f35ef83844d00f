"""Running Beam pipelines: `select.run_pipeline` uses the runner that Beam's flags name."""
