"""What a detector predicts, and how it is held against the truth: boxes, matching, DETR's criterion."""
