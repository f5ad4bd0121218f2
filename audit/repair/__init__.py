"""A model repaired with what people have decided, beside fine-tuning and retraining; imports all below, no cli."""
