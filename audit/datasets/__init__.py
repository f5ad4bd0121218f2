"""Every kind of dataset, read into samples with stable ids. It imports system and types."""
