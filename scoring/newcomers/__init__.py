"""New samples against what is known of a set: foreign, mislabelled, shifted; imports numpy, scipy and `scoring`."""
