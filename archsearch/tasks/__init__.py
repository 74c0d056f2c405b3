"""Tasks, one file each: settings, a vectorised generator and a score; numpy only."""
