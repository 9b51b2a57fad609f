"""A combo box of the shipped models and of those a person trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox

from medseg.errors import MedsegError
from medseg_napari.training import model_list
from medseg_napari.training.model_texts import score_words

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage


class ModelCombo(QComboBox):  # type: ignore[misc]
    """Lists models with their scores, and follows :mod:`medseg_napari.training.model_list`.

    Parameters
    ----------
    nothing : str
        Words of a first row that stands for no model; no such row when empty.
    """

    def __init__(self, nothing: str = "") -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(10)
        if nothing:
            self.addItem(nothing, None)
        self._list_models()
        model_list.connect(self.offer)

    def package(self) -> ModelPackage | None:
        """The chosen model."""
        chosen: ModelPackage | None = self.currentData()
        return chosen

    def offer(self, package: ModelPackage) -> None:
        """Add a model, or put a newer one in the place of the one in the same folder."""
        words = score_words(package)
        for place in range(self.count()):
            known = self.itemData(place)
            if known is not None and known.folder == package.folder:
                self.setItemData(place, package)
                self.setItemText(place, words)
                return
        self.addItem(words, package)

    def choose(self, package: ModelPackage) -> None:
        """Choose the model in a package's folder."""
        for place in range(self.count()):
            known = self.itemData(place)
            if known is not None and known.folder == package.folder:
                self.setCurrentIndex(place)

    def _list_models(self) -> None:
        from medseg.model_package import shipped_packages

        try:
            shipped = shipped_packages()
        except MedsegError:
            shipped = []
        for package in [*shipped, *model_list.all()]:
            self.offer(package)
