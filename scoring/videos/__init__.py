"""What is said of video frames: evidence.py weighs judges, order.py looks for blocks in the wrong place."""
