"""What the workflow needs of the machine: whole files, locks, processes, memory, URLs. It imports types only."""
