"""Display: planes, letters, mouse, keys and windows of a viewer."""
