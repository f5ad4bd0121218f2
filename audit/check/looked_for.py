"""What a batch is looked through for: kind -> one image of it, and several, in words."""

KINDS = {
    "foreign": ("foreign image", "foreign images"),
    "copy": ("copy of an image of the run", "copies of images of the run"),
    "leak": ("copy of a validation or test image", "copies of validation or test images"),
    "repeat": ("copy inside the batch", "copies inside the batch"),
    "label_error": ("label that is probably wrong", "labels that are probably wrong"),
    "unknown_label": ("label that the run does not have", "labels that the run does not have"),
    "class_shift": ("image out of place by its class", "images out of place by their class"),
    "quality_shift": ("image out of place by how it was taken", "images out of place by how they were taken"),
    "unreadable": ("image that cannot be read", "images that cannot be read"),
}
