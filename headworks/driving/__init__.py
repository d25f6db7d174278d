"""Driving: avatars moved by other people's tracking, by expression curves, and how it is shown.

performance  what a head does over time, and how a subject usually is in its capture
transfer     one subject's performance as another's: cross re-enactment
curves       files of named expressions (CSV, Parquet, JSON; ARKit's names)
poser        a bound avatar posed quickly, frame after frame; `kernels` its loops
cameras      camera paths: turntables, keyframes, files
show         frames of a driven avatar
"""
