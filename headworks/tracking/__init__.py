"""Tracking: identity, expression, pose and cameras of a captured head."""
