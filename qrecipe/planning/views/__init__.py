"""A plan, seen by role, module or rule, and beside another one."""
