"""What torch.export returns becomes a graph that passes can edit: a file for each rewrite."""
