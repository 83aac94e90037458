"""Where workers run: on this machine, or on another over ssh."""
