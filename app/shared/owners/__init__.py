"""What owners do from a page: jobs and the runs on their shelf. It imports shared, audit and access."""
