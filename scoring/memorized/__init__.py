"""What a model keeps of single training samples: exposure, membership, memorization; imports numpy and scipy only."""
