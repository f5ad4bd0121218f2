"""Whether a new batch of images belongs to the data of a run, without a training on it; imports all below, no cli."""
