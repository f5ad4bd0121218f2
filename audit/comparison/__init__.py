"""Does the cleaned dataset train a better model? It imports export, training and what lies below them."""
