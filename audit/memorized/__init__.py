"""What a recorded training keeps of single samples: privacy exposure and memorization; imports runs, and scoring."""
