"""What a captured model is made of: operations, operands, parameters, roles, cross-attention."""
