"""The claims: each module is one."""
