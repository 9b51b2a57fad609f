"""A model at work on a device: a scan in, a label map on the scan's own grid out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medseg.errors import GeometryError, PlanError
from medseg.inference.backends import Compilation, backend_of, device_for, on_backend
from medseg.inference.chain_run import run_chain
from medseg.inference.composed import Around, Together
from medseg.inference.estimate import (
    Estimate,
    Probe,
    estimate,
    main_bytes_of,
    measure_tile,
    open_bytes_of,
    tile_bytes,
    tiles_of,
)
from medseg.inference.job import InferenceJob, RawPrediction
from medseg.inference.oom_fallback import Fallback, fallbacks, run_with_fallback, that_fit
from medseg.inference.options import DEFAULT_OPTIONS, Options, Prediction
from medseg.inference.pointwise_head import Split, split
from medseg.inference.tta import FlipTTA
from medseg.inference.unfamiliar import check_contrast, warnings_about
from medseg.model_package import ModelPackage, find_package
from medseg.model_package.chain import Chain
from medseg.planning import Component, Plan
from medseg.postprocessing import NO_POSTPROCESSING, Postprocessing, build_postprocessing
from medseg.preprocessing import prepare_image
from medseg.preprocessing.own_transforms import Transform, check_names, flattened
from medseg.preprocessing.placement import Placement
from medseg.preprocessing.previous_stage import previous_masks
from medseg.runtime.device import Device
from medseg.runtime.progress import Progress, silent
from medseg.volume import Grid, LabelMap, LabelTable, Scan
from medseg.volume.bounding_box import Box
from medseg.volume.scan import Provenance


@dataclass(frozen=True, eq=False)
class Predictor:
    """A network with the plan it was made for and the labels it gives.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on `device`.
    plan : Plan
        From raw scan to network input.
    labels : LabelTable
        Meaning of classes 1, 2... in order. With regions in the plan, each is the part of one
        region that is in no smaller one.
    device : Device
    postprocessing : Postprocessing
        Steps after the network. One on probabilities needs those of the whole volume in memory.
    transforms : tuple of callable
        A person's own, which the plan names, between the preparation and the network.
    previous : Predictor or None
        The one before, whose labels are further input of the network (a cascade).
    together : Together or None
        Models that answer in place of `network`, which is empty then.
    around : Around or None
        Finds the structures around which alone the model looks.
    chain : Chain or None
        Of a model of another program: what is done in place of what the plan says.

    Raises
    ------
    PlanError
        When a step works on probabilities of classes and the network gives those of regions, there
        are not as many labels as regions, `transforms` are not those that the plan names, or
        `previous` gives other labels than the plan has channels for.
    """

    network: nn.Module
    plan: Plan
    labels: LabelTable
    device: Device
    postprocessing: Postprocessing = NO_POSTPROCESSING
    transforms: tuple[Transform, ...] = ()
    previous: Predictor | None = None
    together: Together | None = None
    around: Around | None = None
    chain: Chain | None = None

    def __post_init__(self) -> None:
        self.plan.outputs(self.labels)
        before = 0 if self.previous is None else len(self.previous.labels)
        if before != self.plan.previous_labels:
            raise PlanError(
                f"the network takes {self.plan.previous_labels} labels of one before and was given"
                f" {before}; load the model with the one that it was trained after",
                code="PREVIOUS",
            )
        check_names(self.transforms, self.plan)
        exclusive = not self.plan.regions and self.chain is None
        if not exclusive and self.postprocessing.on_probabilities:
            raise PlanError(
                "a step on probabilities needs classes that exclude each other, and this model"
                " gives regions or is of another program; leave the step out, or take steps on"
                " labels such as components or holes"
            )

    @classmethod
    def load(
        cls,
        package: ModelPackage | str | Path,
        *,
        device: str = "auto",
        postprocessing: tuple[Component, ...] | None = None,
        tta: bool = False,
        backend: str = "torch",
        network: nn.Module | None = None,
        transforms: Transform | Sequence[Transform] = (),
    ) -> Predictor:
        """A predictor from a model package, its folder, or the name of a shipped model.

        Parameters
        ----------
        package : ModelPackage or str or Path
        device : str, default "auto"
            On ``"cpu"`` models of nnU-Net compute in float32, as there; others in what is fastest.
        postprocessing : tuple of Component, optional
            Steps after the network, in place of the model's own; none when empty.
        tta : bool, default False
            Whether the network looks at every mirror image of a tile and takes the mean, along the
            axes that its training mirrored: more exact, and eight times slower with three axes.
        backend : {"torch", "openvino", "onnxruntime", "auto"}, default "torch"
            What runs the network on a CPU. ``"auto"`` measures what is installed, once for a model
            on a machine, and takes the fastest whose labels are torch's; see
            :mod:`medseg.inference.backends`.
        network : torch.nn.Module, optional
            For a model that was trained with an object of Python: one of the same layers. It takes
            the weights.
        transforms : callable or sequence of callable, optional
            For a model that was trained with transforms of Python: the same ones.

        Raises
        ------
        PackageError
            When the package is unknown, incomplete or altered, or a part of the model is of a
            package that is not installed.
        InputError
            When the device is not there, the backend is not installed or cannot run the network, or
            a step of `postprocessing` is unknown or does not suit the model.
        """
        if not isinstance(package, ModelPackage):
            package = find_package(package)
        manifest = package.manifest
        target = device_for(backend, device)
        if manifest.plan.blending == "nnunet" and device in {"auto", "cpu"}:
            target = target.as_nnunet()
        package.check_installed()
        steps = build_postprocessing(
            manifest.postprocessing if postprocessing is None else postprocessing
        )
        inner = functools.partial(cls.load, device=device, tta=tta, backend=backend)
        around = None
        if manifest.crop is not None:
            finder = inner(package.inner(manifest.crop.model))
            around = Around(finder, manifest.crop.labels, manifest.crop.margin_mm)
        if package.composed:
            names = manifest.members or manifest.parts
            models = tuple(inner(package.inner(name)) for name in names)
            together = Together(models, "mean" if manifest.members else "parts")
            made = cls(nn.Identity(), manifest.plan, manifest.labels, target, steps)
            return replace(made, together=together, around=around)
        loaded = package.load_network(network).to(target.torch_device)
        compilation = Compilation(package, loaded, target, given=network is not None)
        network = on_backend(compilation, backend)
        if tta and manifest.plan.mirror_axes:
            network = FlipTTA(network, manifest.plan.mirror_axes).eval()
        previous = inner(package.inner(manifest.previous)) if manifest.previous else None
        return cls(
            network,
            manifest.plan,
            manifest.labels,
            target,
            steps,
            flattened(transforms),
            previous,
            around=around,
            chain=manifest.chain,
        )

    def predict(self, scan: Scan, *, progress: Progress = silent) -> LabelMap:
        """Label every voxel of a scan.

        Parameters
        ----------
        scan : Scan
            As read; any orientation and spacing.
        progress : Progress, optional
            Called before every tile; may raise `Cancelled`.

        Raises
        ------
        InputError
            When the scan does not fit the model (channels, NaN voxels, one value everywhere).
        GeometryError
            When the voxels did not come to lie where the plan puts them (a fault in medseg).
        """
        return self.run(scan, progress=progress).labels

    def run(
        self, scan: Scan, options: Options = DEFAULT_OPTIONS, *, progress: Progress = silent
    ) -> Prediction:
        """Label a scan, or a box of it, in another way than the model's own, or with maps.

        When the device runs out of memory, the work is done again in a smaller way, in the end on
        the CPU (see :mod:`.oom_fallback`). Notes of the provenance of the labels say so, and where
        the scan is far from what the model knows (see :mod:`.unfamiliar`).

        Parameters
        ----------
        scan : Scan
            As read; any orientation and spacing.
        options : Options, optional
        progress : Progress, optional
            Called before every tile; may raise `Cancelled`.

        Raises
        ------
        InputError
            When the scan or the options do not fit the model, or memory cannot suffice.
        GeometryError
            When the box does not lie in the scan, or the voxels did not come to lie where the plan
            puts them (a fault in medseg).
        """
        options.check(scan.grid, self.labels)
        if self.around is not None:
            return self.around.run(replace(self, around=None), scan, options, progress=progress)
        if self.together is not None:
            return self.together.run(self._with_steps_of(options), scan, options, progress=progress)
        if self.chain is not None:
            check_contrast(scan)
            return run_chain(self._with_steps_of(options), self.chain, scan, options, progress)
        image_CIJK, placement = prepare_image(scan, self.plan, self.transforms)
        check_contrast(scan)
        warnings = warnings_about(scan, image_CIJK, placement, self.plan)
        notes = (*scan.provenance.notes, *warnings)
        if self.previous is not None:
            before = self.previous.predict(scan, progress=progress)
            masks_LIJK = previous_masks(before, scan, self.plan, placement)
            image_CIJK = torch.cat((image_CIJK, masks_LIJK))
        return self._run(
            InferenceJob(
                self._with_steps_of(options),
                image_CIJK,
                placement,
                scan.grid,
                replace(scan.provenance, notes=notes),
                options,
                progress,
            )
        )

    def predict_prepared(
        self, image_CIJK: Tensor, grid: Grid, box: Box | None = None, *, progress: Progress = silent
    ) -> LabelMap:
        """Label a scan that was prepared before, as in a training; the map has no provenance.

        Parameters
        ----------
        image_CIJK : torch.Tensor
            As :func:`medseg.preprocessing.prepare_image` made it of the scan by this plan.
        grid : Grid
            Of the scan.
        box : tuple of slice, optional
            Of a scan that was cropped: ``placement.box``.
        progress : Progress, optional
            Called before every tile; may raise `Cancelled`.

        Raises
        ------
        GeometryError
            When the image is not one of such a scan.
        PlanError
            When the model is made of several, or of another program.
        """
        if self.together is not None or self.chain is not None:
            raise PlanError(
                "a model of several, or of another program, prepares scans in its own way, so it"
                " cannot label a prepared one; give the scan to predict",
                code="FOREIGN",
            )
        placement = Placement.of(grid, self.plan, box)
        if tuple(image_CIJK.shape[1:]) != placement.prepared.shape:
            raise GeometryError(
                f"the prepared image has {tuple(image_CIJK.shape[1:])} voxels and its scan by this"
                f" plan {placement.prepared.shape}; give the grid and box that it was prepared by"
            )
        return self._run(
            InferenceJob(self, image_CIJK, placement, grid, Provenance(), DEFAULT_OPTIONS, progress)
        ).labels

    def _run(self, job: InferenceJob) -> Prediction:
        attempts = that_fit(
            fallbacks(self.device, self.plan.patch), functools.partial(self._needed_bytes, job)
        )
        raw, notes = run_with_fallback(attempts, functools.partial(self._run_on, job))
        provenance = replace(job.provenance, notes=(*job.provenance.notes, *notes))
        few = max(self.labels.values, default=0) < 256
        value_of = np.array((0, *self.labels.values), np.uint8 if few else np.uint16)
        values = job.on_native_grid(value_of[raw.classes])
        return Prediction(
            LabelMap(values, job.grid, self.labels, provenance),
            job.map_on_native_grid(raw.maps.uncertainty),
            job.map_on_native_grid(raw.maps.probability),
            job.every_on_native_grid(raw.maps),
            backend_of(self.network),
        )

    def estimate(self, grid: Grid, options: Options = DEFAULT_OPTIONS, *, probe: Probe) -> Estimate:
        """Tiles, time and memory that labelling a scan will take.

        Parameters
        ----------
        grid : Grid
        options : Options, optional
            What will be asked for.
        probe : Probe
        """
        if self.around is not None and probe.around is not None:
            inside = replace(self, around=None).estimate(grid, options, probe=probe)
            return self.around.estimate(inside, grid, probe.around)
        if self.together is not None:
            return self.together.estimate(grid, options, probe)
        return estimate(self._with_steps_of(options), grid, options, probe=probe)

    def tiles(self, grid: Grid, options: Options = DEFAULT_OPTIONS) -> int:
        """How often the network runs for a scan on `grid`; takes no time to know."""
        first = 0 if self.around is None else self.around.model.tiles(grid)
        models = (self,) if self.together is None else self.together.models
        return first + sum(tiles_of(model, grid, options) for model in models)

    def probe(self) -> Probe:
        """Measure one tile on this device; takes about as long as one or two tiles."""
        own = measure_tile(self) if self.together is None else self.together.probe()
        return own if self.around is None else replace(own, around=self.around.model.probe())

    @functools.cached_property
    def split(self) -> Split | None:
        """The network without its last layer, and that layer, where this saves memory."""
        if backend_of(self.network):  # another library runs it as a whole
            return None
        return split(self.network, self.plan.inputs, self.plan.patch)

    @property
    def own_classes(self) -> list[int]:
        """The class that each region writes; empty when classes exclude each other."""
        return [region[0] for region in self.plan.regions]

    def channel_of(self, name: str) -> int | None:
        """Channel of the network's logits that stands for a label; None without a name."""
        if not name:
            return None
        index = self.labels.names.index(name) + 1
        return self.own_classes.index(index) if self.plan.regions else index

    @functools.cached_property
    def _tile_bytes(self) -> int | None:
        return tile_bytes(self)

    def _needed_bytes(self, job: InferenceJob, attempt: Fallback) -> int | None:
        """Main memory that a way of doing a job takes; None when that is not known."""
        if attempt.device.torch_device.type != "cpu" or self._tile_bytes is None:
            return None
        network = self._tile_bytes * prod(attempt.tile) // prod(self.plan.patch)
        open_bytes = open_bytes_of(job.predictor, job.placement, attempt.tile)
        return network + open_bytes + main_bytes_of(job.predictor, job.placement, job.options)

    def _with_steps_of(self, options: Options) -> Predictor:
        """A predictor with the postprocessing that some options ask for."""
        if options.postprocessing is None:
            return self
        return replace(self, postprocessing=build_postprocessing(options.postprocessing))

    def _run_on(self, job: InferenceJob, attempt: Fallback) -> RawPrediction:
        """Classes and maps, with the network on the attempt's device for as long as it takes."""
        if attempt.device is self.device:
            return job.predict(attempt)
        self.network.to(attempt.device.torch_device)
        try:
            return job.predict(attempt)
        finally:
            self.network.to(self.device.torch_device)
