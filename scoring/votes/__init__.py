"""Several annotators' votes on the same samples: consensus, quality, confusions; imports numpy and scipy only."""
