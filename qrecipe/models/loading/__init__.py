"""From what a recipe says of a model to the module with its weights and labels."""
