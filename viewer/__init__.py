"""The window for labeling: two clips side by side, and what a person answers."""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
