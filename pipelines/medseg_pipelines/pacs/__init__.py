"""Scans from a hospital's archive and results back to it, over DICOMweb and DIMSE."""
