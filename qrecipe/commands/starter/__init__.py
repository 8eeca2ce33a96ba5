"""What ``qrecipe init`` is made of: a model and data as typed, what the model is like, and the recipe's text."""
