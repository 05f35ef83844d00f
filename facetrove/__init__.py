"""The command line, nothing else: each command calls one function of another room."""
