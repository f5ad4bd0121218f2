"""What a reviewer is asked, and what an answer means. It imports shared and what lies below it."""
