"""Functions of one real number, as element-wise operators compute them: their slopes and their ranges."""
