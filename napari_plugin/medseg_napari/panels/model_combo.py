"""A combo box of the shipped models and of those a person trained or imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from medseg.errors import MedsegError
from medseg_napari.panels.form_parts import narrow_combo
from medseg_napari.training import model_list
from medseg_napari.training.model_texts import model_text

if TYPE_CHECKING:
    from medseg.model_package import ModelPackage


class ModelCombo(QComboBox):  # type: ignore[misc]
    """Lists models with their scores; a first row called `nothing`, if any, stands for no model."""

    def __init__(self, nothing: str = "") -> None:
        super().__init__()
        narrow_combo(combo=self)
        if nothing:
            self.addItem(nothing, None)
        self._list_models()
        model_list.connect(self.offer)

    def package(self) -> ModelPackage | None:
        """The chosen model."""
        package: ModelPackage | None = self.currentData()
        return package

    def offer(self, package: ModelPackage) -> None:
        """Add a model, or put a newer one in the place of the one in the same folder."""
        row, text = self._row_of(package), model_text(package)
        others = [self.itemText(other) for other in range(self.count()) if other != row]
        if text in others:
            text += f", {package.folder.parent.name}/{package.folder.name}"
        if row < 0:
            self.addItem(text, package)
            row = self.count() - 1
        self.setItemData(row, package)
        self.setItemText(row, text)
        self.setItemData(row, str(package.folder), Qt.ItemDataRole.ToolTipRole)

    def choose(self, package: ModelPackage) -> None:
        """Choose the model in a package's folder."""
        if self.lists(package):
            self.setCurrentIndex(self._row_of(package))

    def lists(self, package: ModelPackage) -> bool:
        """Whether the model in a package's folder is offered."""
        return self._row_of(package) >= 0

    def _row_of(self, package: ModelPackage) -> int:
        listed = (self.itemData(row) for row in range(self.count()))
        rows = [row for row, other in enumerate(listed) if other and other.folder == package.folder]
        return rows[0] if rows else -1

    def _list_models(self) -> None:
        from medseg.model_package import shipped_packages, stored_packages

        try:
            shipped = shipped_packages()
        except MedsegError:
            shipped = []
        for package in [*shipped, *stored_packages(), *model_list.all()]:
            self.offer(package)
