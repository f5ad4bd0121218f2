"""What is done with a selection, wherever it was made: decided, tagged, sent to Review, taken along; and taken back."""
