"""attribute_files What files from strangers may try, and what SECURITY.md promises."""
