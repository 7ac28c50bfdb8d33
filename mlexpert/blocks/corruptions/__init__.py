"""Corruptions that a deployed model meets: noise, blur, light, compression, in five severities."""
