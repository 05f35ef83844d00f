"""The command line: one module per command, with its options and the text that it prints."""
