"""The hw2_data tree: safe reading, packing, and the offline sample tree."""
