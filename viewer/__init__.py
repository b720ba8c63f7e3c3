"""What a person labels with: two clips side by side in a window, and what they answer."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
