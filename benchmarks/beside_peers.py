"""A detector's students in runtimes, beside what other programs make of the same network with the same images.

    COCO_FREE=folder python benchmarks/beside_peers.py benchmarks/coco_free/deimv2_atto.yaml --split val \\
        --set model.factory=deimv2_atto/build.py:build --folder runs/beside_peers [--run trained=runs/mine]

Prints a Markdown table: AP in the runtime, what it is of the real-valued network's, megabytes, and the time of an image
(batch 1, interleaved with all others in one process). Students are quantized everywhere that integer runtimes quantize,
stem and heads too. Needs ``qrecipe[onnx]``, ``qrecipe[openvino]`` and nncf. Files and APs are kept in the folder, so
that a table that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from without_training import EXTENTS, METHODS, Table, arguments, bits, changes_of, named

from qrecipe.deploy.compared import export_compared
from qrecipe.deploy.metadata import Metadata, metadata_of
from qrecipe.deploy.opened import OpenedFile
from qrecipe.evaluation import evaluate_model
from qrecipe.experiment.detector import file_detector, score, student_detector
from qrecipe.experiment.workspace import Workspace
from qrecipe.latency.machine import this_machine
from qrecipe.latency.peers import INPUT, nncf_int8, static_qdq
from qrecipe.latency.timing import interleaved
from qrecipe.recipe import load_recipe
from qrecipe.report.amounts import share, three_places
from qrecipe.run.ledger import Ledger
from qrecipe.runtimes import Session, find_runtime
from qrecipe.student import Student, plan_size
from qrecipe.student.store import load
from qrecipe.train.denormals import flushed_denormals

ONNX, OPENVINO = "onnxruntime", "openvino"
STUDENTS = ("8-8-8=ranges", "7-8-8=ranges", "6-6-8=ranges", "4-8-8=+ compensate", "4-4-8=+ compensate")
"""Bits, and the method of ``without_training.py`` that they are found with."""
STATIC = tuple((calibrator, reduced) for calibrator in ("MinMax", "Entropy", "Percentile") for reduced in (False, True))
NNCF = tuple((preset, transformer) for preset in ("performance", "mixed") for transformer in (False, True))
MAX_DROP = 0.01
"""Of AP on the calibration images, that NNCF's accuracy control is asked to keep to."""


class Beside:
    """Networks as files, each scored in its runtime."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.table = table
        self.files = folder / "files"
        self.files.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(folder / "scores", {"recipe": dict(self.workspace.recipe.resolved), "split": table.split})
        self.rows: list[tuple[str, str, Path, float]] = []
        self.metadata: Metadata | None = None
        self.size = (0, 0)

    @property
    def workspace(self) -> Workspace:
        return self.table.workspace

    def ours(self, name: str, make: Callable[[], Student]) -> None:
        """Score a student's files, made unless a former call has written them."""
        folder = self.files / name.replace(" ", "_")
        if not (folder / "done").exists():
            self._write(name, make(), folder)
        own = self.ledger.recall(["simulated", name])
        print(f"<!-- {name}: the student itself has AP {three_places(own)} -->", flush=True)
        for mode in ("integer", "packed"):
            for runtime in (ONNX, OPENVINO):
                self.scored(f"ours, {name}, {mode}", runtime, folder / f"{mode}.onnx")

    def begin(self, student: Student) -> Path:
        """Write the real-valued network of a student; returns its file."""
        self.size = plan_size(student.input)
        self.metadata = metadata_of(student, "integer", (1, *self.size))
        folder = self.files / "real"
        if not (folder / "float.onnx").exists():
            folder.mkdir(exist_ok=True)
            export_compared(student, folder, (1, *self.size))
        return folder / "float.onnx"

    def _write(self, name: str, student: Student, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.ledger.keep(["simulated", name], score(student_detector(student), self.workspace, self.table.split)[0].AP)
        export_compared(student, folder, (1, *self.size))
        (folder / "done").touch()

    def scored(self, name: str, runtime: str, file: Path) -> None:
        found = self.ledger.recall([name, runtime])
        if found is None:
            found = self._score(file, find_runtime(runtime).open(file))
            self.ledger.keep([name, runtime], found)
        self.rows.append((name, runtime, file, found))
        print(f"<!-- {name} in {runtime}: AP {three_places(found)} -->", flush=True)

    def _score(self, file: Path, session: Session) -> float:
        assert self.metadata is not None
        opened = OpenedFile(file, self.metadata, session)
        return score(file_detector(opened), self.workspace, self.table.split)[0].AP or 0.0

    def others(self, real: Path, control: bool) -> None:
        """ONNX Runtime's tool with each of its calibrators, with 8-bit and 7-bit weights, and NNCF with each preset.

        control: NNCF with its accuracy control too.
        """
        images = [image[None] for batch in self.table.calibration() for image in batch.pixel_values.numpy()]
        for calibrator, reduced in STATIC:
            name = f"ONNX Runtime static, {calibrator.lower()}{', reduce_range' if reduced else ''}"
            make = partial(static_qdq, real, images=images, calibrator=calibrator, reduce_range=reduced)
            self._other(name, ONNX, make)
        for preset, transformer in NNCF:
            name = f"NNCF, {preset}{', transformer' if transformer else ''}"
            make = partial(nncf_int8, real, images=images, preset=preset, transformer=transformer)
            self._other(name, OPENVINO, make)
        if control:
            name = "NNCF, mixed, transformer, accuracy control"
            self._other(name, OPENVINO, lambda to: self._controlled(real, to, images))

    def _other(self, name: str, runtime: str, make: Callable[[Path], Path]) -> None:
        folder = self.files / name.replace(" ", "_").replace(",", "")
        kept = folder / "name"
        if not kept.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                made = make(folder)
            except Exception as error:  # another program's own fault
                print(f"<!-- {name} fails: {' '.join(str(error).split())[:300]} -->", flush=True)
                return
            kept.write_text(made.name)
        self.scored(name, runtime, folder / kept.read_text())

    def _controlled(self, real: Path, folder: Path, images: list[Any]) -> Path:
        import nncf
        import openvino

        batches, truth = self.table.calibration(), self.workspace.data["train"].truth

        def validate(compiled: Any, numbers: Iterable[int]) -> tuple[float, None]:
            assert self.metadata is not None
            one = file_detector(OpenedFile(real, self.metadata, _Compiled(compiled)))
            found, _ = evaluate_model(
                lambda batch: one.predict(batch.pixel_values, batch.pixel_mask),
                [batches[number] for number in numbers],
                one.label_map,
                one.scores,
                truth,
            )
            return found.AP or 0.0, None

        made = nncf.quantize_with_accuracy_control(
            openvino.Core().read_model(str(real)),
            calibration_dataset=nncf.Dataset([{INPUT: image} for image in images]),
            validation_dataset=nncf.Dataset(range(len(batches))),
            validation_fn=validate,
            max_drop=MAX_DROP,
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(images),
        )
        openvino.save_model(made, str(folder / "nncf.xml"), compress_to_fp16=False)
        return folder / "nncf.xml"

    def show(self, rounds: int, threads: int) -> None:
        """The table, with latencies of all files, interleaved."""
        pixels = self.table.calibration()[0].pixel_values[:1].numpy()
        sessions = [find_runtime(runtime).open(file, threads=threads) for _, runtime, file, _ in self.rows]
        found = interleaved([partial(one.run, {INPUT: pixels}) for one in sessions], rounds)
        real = self.rows[0][3]
        print(f"\n{this_machine().line()}; {threads} thread(s), {rounds} rounds\n")
        print("| network | in | AP | of real-valued | MB | ms |\n|---|---|---|---|---|---|")
        for (name, runtime, file, ap), latency in zip(self.rows, found, strict=True):
            size = sum(one.stat().st_size for one in {file, file.with_suffix(".bin")} if one.exists()) / 1e6
            cells = [name, runtime, three_places(ap), share(ap, real), f"{size:.2f}", f"{latency.median * 1e3:.1f}"]
            print(f"| {' | '.join(cells)} |")


class _Compiled:
    """A compiled model of OpenVINO, run as a session is."""

    def __init__(self, compiled: Any) -> None:
        self.compiled = compiled

    def run(self, arrays: Any) -> dict[str, Any]:
        found = self.compiled(dict(arrays))
        return {one.get_any_name(): found[place] for place, one in enumerate(self.compiled.outputs)}

    def operators(self) -> None:
        return None


def a_student(words: str) -> str:
    """Refuse a method that ``without_training.py`` does not have."""
    if words.partition("=")[2] not in METHODS:
        raise argparse.ArgumentTypeError(f"{words!r}: not W-A-ATTENTION=METHOD, with a method of {', '.join(METHODS)}")
    return words


def main(given: argparse.Namespace) -> None:
    table = Table(given.recipe, given.set, given.split, given.folder / "students")
    beside = Beside(table, given.folder)

    def made(width: str, method: str) -> Student:
        changes = (*EXTENTS["everything"], *bits(width), *changes_of(method, given.steps))
        return table.student(load_recipe(given.recipe, [*given.set, *changes]))

    real = beside.begin(made("8-8-8", "ranges"))
    for runtime in (ONNX, OPENVINO):
        beside.scored("real-valued", runtime, real)
    if not given.no_peers:
        beside.others(real, given.control)
    for width, method in (one.split("=", 1) for one in given.students):
        beside.ours(f"{width} {named(method, given.steps)}", partial(made, width, method))
    for name, run in (one.split("=", 1) for one in given.run):
        beside.ours(name, partial(load, Path(run) / "student"))
    beside.show(given.rounds, given.threads)


if __name__ == "__main__":
    parser = arguments(__doc__, split="val")
    parser.add_argument("--students", nargs="*", type=a_student, default=list(STUDENTS), metavar="W-A-ATTENTION=METHOD")
    parser.add_argument("--steps", type=int, default=400, help="of the whole network at once")
    parser.add_argument(
        "--run", action="append", default=[], metavar="NAME=RUN", help="a trained student of this model"
    )
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--control", action="store_true", help="NNCF with its accuracy control too (half an hour)")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    with flushed_denormals():
        main(parser.parse_args())
