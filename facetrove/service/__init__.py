"""The HTTP service: face search, and the jobs that change a dataset and its index, over HTTP.

`server.run_server` starts it. The web framework is imported in this package alone, and only where
the extra `serve` is installed.
"""
