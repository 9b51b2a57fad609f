"""Inference: a model at work on a layer, what it will take, and where its result goes."""
