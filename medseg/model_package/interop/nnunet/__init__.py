"""Trained models of nnU-Net v2: a folder ``TRAINER__PLANS__CONFIGURATION`` or its zip."""
