"""Journey: a whole archive with one model, unattended; nothing lost, nothing done twice."""

from medseg_pipelines.batch.folder_run import BatchOptions, Format, segment_folder

__all__ = ["BatchOptions", "Format", "segment_folder"]
