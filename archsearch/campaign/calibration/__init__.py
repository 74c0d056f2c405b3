"""Whether cells and budget tell designs apart: what to run, and what the runs say.

The reference designs whose outcome is known beforehand are trained as a campaign trains its own, at
every learning rate and with several seeds. Pure functions; ``campaign.calibrate`` carries it out.
"""
