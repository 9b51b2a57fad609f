"""The header fields that reading a scan asks for; nothing else of a header is parsed."""

from __future__ import annotations

MARKS = (
    "AcquisitionNumber",
    "EchoTime",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TriggerTime",
    "InversionTime",
    "NominalPercentageOfCardiacPhase",
    "FlipAngle",
    "RepetitionTime",
    "ComplexImageComponent",
    "KVP",
    "ImageType",
    "ConvolutionKernel",
    "SliceThickness",
    "FrameReferenceTime",
    "ActualFrameDuration",
    "AcquisitionDateTime",
    "ContentTime",
    "AcquisitionTime",
)
"""Header fields that may tell apart several images at one position, the likeliest first."""

TIMES = (
    "AcquisitionDateTime",
    "FrameReferenceTime",
    "AcquisitionTime",
    "ContentTime",
    "TriggerTime",
)
"""Those by whose rank images at one position may be told apart where each image has its own."""

PIXEL_FIELDS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "Modality",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)
"""Header fields that decoding and rescaling need."""

NUCLEAR_VECTORS = (
    "EnergyWindowVector",
    "DetectorVector",
    "PhaseVector",
    "RRIntervalVector",
    "TimeSlotVector",
    "TimeSliceVector",
)
"""What tells frames of nuclear medicine at one position apart."""

OWNERS = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
"""Whose images they are: only compared between slices, never shown."""

UNITS = ("Units", "RescaleType")
"""What the values of a slice are in."""

FIELDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "ImagerPixelSpacing",
    "ImagePlanePixelSpacing",
    "PixelSpacingCalibrationType",
    "SequenceOfUltrasoundRegions",
    "SpacingBetweenSlices",
    "InstanceNumber",
    "ConcatenationUID",
    "FrameIncrementPointer",
    "DetectorInformationSequence",
    "SliceVector",
    *NUCLEAR_VECTORS,
    "DimensionIndexSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    *PIXEL_FIELDS,
    *MARKS,
    *OWNERS,
    *UNITS,
)
"""All that are read of every file."""

_ACQUISITION_GROUP = 0x0019
POLARITY_SEQUENCE, POLARITY_MODE = 0x9C, 0xB3
"""Ends of GE's private elements (0019,xx9C) and (0019,xxB3), in whatever block they lie."""

PRIVATE_TAGS = tuple(
    _ACQUISITION_GROUP << 16 | block << 8 | element
    for block in range(0x10, 0x20)
    for element in (POLARITY_SEQUENCE, POLARITY_MODE)
)
