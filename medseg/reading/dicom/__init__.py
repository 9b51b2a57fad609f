"""DICOM: image series, segmentations and structure sets, and the parts that read them."""
