"""COCO-format data: reading and checking, transforms, batches, and the synthetic set."""
