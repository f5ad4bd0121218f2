"""The command line: parse, one call, known errors as one line. It imports every room of audit."""
