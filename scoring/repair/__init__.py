"""A trained model made better by samples that people have looked at, without a training."""
