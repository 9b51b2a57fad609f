"""Which elements of a DICOM result may stay when the patient is taken out, by keyword.

A list of what stays, not of what goes: an element that is in none of these has no place in a
de-identified result. What medseg's writers write is in them, as far as it tells no patient.

References
----------
DICOM PS3.15, table E.1-1.
"""

from __future__ import annotations

KEPT = frozenset({
    "SpecificCharacterSet", "ImageType", "Modality", "Manufacturer", "ManufacturerModelName",
    "SoftwareVersions", "SeriesDescription", "SeriesNumber", "InstanceNumber", "CodeValue",
    "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion",
    "CodeMeaning", "MappingResource", "TemplateIdentifier", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod",
    "PresentationLUTShape", "PixelData", "BurnedInAnnotation",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData", "ContentLabel",
    "ContentDescription", "SegmentationType", "SegmentsOverlap", "MaximumFractionalValue",
    "SegmentationFractionalType", "SegmentNumber", "SegmentLabel", "SegmentDescription",
    "SegmentAlgorithmType", "SegmentAlgorithmName", "AlgorithmName", "AlgorithmVersion",
    "RecommendedDisplayCIELabValue", "RecommendedDisplayGrayscaleValue", "TrackingID",
    "ReferencedSegmentNumber", "ReferencedFrameNumber", "DimensionIndexPointer",
    "FunctionalGroupPointer", "DimensionDescriptionLabel", "DimensionOrganizationType",
    "DimensionIndexValues", "StackID", "InStackPositionNumber", "SpatialLocationsPreserved",
    "ImageOrientationPatient", "ImagePositionPatient", "ImageOrientationSlide", "PixelSpacing",
    "SliceThickness", "SpacingBetweenSlices", "StructureSetLabel", "StructureSetName",
    "StructureSetDescription", "ROINumber", "ROIName", "ROIGenerationAlgorithm",
    "ReferencedROINumber", "ROIDisplayColor", "ContourNumber", "ContourGeometricType",
    "NumberOfContourPoints", "ContourData", "ObservationNumber", "RTROIInterpretedType",
    "ApprovalStatus", "ValueType", "RelationshipType", "ContinuityOfContent", "TextValue",
    "NumericValue", "FloatingPointValue", "CompletionFlag", "VerificationFlag",
    "PreliminaryFlag",
})  # fmt: skip
"""Written by medseg, the model or the standard, or telling geometry only."""

SEQUENCES = frozenset({
    "ReferencedSeriesSequence", "ReferencedInstanceSequence", "ReferencedSOPSequence",
    "ReferencedImageSequence", "StudiesContainingOtherReferencedInstancesSequence",
    "SourceImageSequence", "DerivationImageSequence", "DerivationCodeSequence",
    "PurposeOfReferenceCodeSequence", "SegmentSequence",
    "SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence",
    "SegmentedPropertyTypeModifierCodeSequence", "SegmentationAlgorithmIdentificationSequence",
    "AlgorithmFamilyCodeSequence", "SegmentIdentificationSequence",
    "DimensionOrganizationSequence", "DimensionIndexSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "FrameContentSequence", "PixelMeasuresSequence",
    "PlaneOrientationSequence", "PlanePositionSequence", "ReferencedFrameOfReferenceSequence",
    "RTReferencedStudySequence", "RTReferencedSeriesSequence", "ContourImageSequence",
    "StructureSetROISequence", "ROIContourSequence", "ContourSequence",
    "RTROIObservationsSequence", "RTROIIdentificationCodeSequence", "ContentSequence",
    "ContentTemplateSequence", "ConceptNameCodeSequence", "ConceptCodeSequence",
    "MeasuredValueSequence", "MeasurementUnitsCodeSequence",
    "NumericValueQualifierCodeSequence", "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
})  # fmt: skip
"""Gone through, item by item."""

EMPTIED = frozenset({
    "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
    "ReferringPhysicianName", "PositionReferenceIndicator", "OperatorsName", "ROIInterpreter",
    "StructureSetDate", "StructureSetTime", "ContentCreatorName",
    "PerformedProcedureCodeSequence", "ReferencedPerformedProcedureStepSequence",
})  # fmt: skip
"""Of type 2: they must be there, and may be empty."""

DUMMIES = {"ContentDate": "19000101", "ContentTime": "000000", "DeviceSerialNumber": "0"}
"""Of type 1: they must be there with a value."""
