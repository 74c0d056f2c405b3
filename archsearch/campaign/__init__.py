"""A campaign: what it is (``config``), what comes next (``policy``), who does it (``driver``)."""
