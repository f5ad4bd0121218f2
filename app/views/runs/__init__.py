"""The page Runs & jobs and its parts."""
