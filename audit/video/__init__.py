"""Videos: decoding, segments, spans and their timeline. It imports training and what lies below it."""
