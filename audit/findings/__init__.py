"""A recorded run becomes scores, and scores become findings. It imports video and what lies below it."""
