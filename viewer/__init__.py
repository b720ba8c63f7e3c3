"""What a person labels with: two clips side by side in a window, and what they answer."""
