"""A fuzzer of the code that reads what strangers wrote."""
