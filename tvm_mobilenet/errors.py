"""Every error a user can cause or meet, by name.

Each message answers three questions: what was wrong, where, and what to do
about it. The command line prints the message without a traceback and leaves
with :attr:`TvmMobilenetError.exit_status`.
"""

from __future__ import annotations


class TvmMobilenetError(Exception):
    """Root of every error this package raises on purpose.

    Parameters
    ----------
    what : str
        What was wrong, and where, in one sentence.
    remedy : str, optional
        What the user can do about it.
    """

    exit_status = 2

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}\n  → {remedy}" if remedy else what)


def last_line(error: Exception) -> str:
    """Return the last line of what an error says, or its type's name where it says nothing.

    TVM's begin with the calls that led to them; of ours the remedy does not count.
    """
    text = error.what if isinstance(error, TvmMobilenetError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def reason(error: Exception) -> str:
    """Return an error's type and the last line of what it says."""
    name, said = type(error).__name__, last_line(error)
    return name if said == name else f"{name}: {said}"


class NotInstalledError(TvmMobilenetError, ImportError):
    """A part of this project, or a package that one needs, which is not installed here."""


class UnknownModelError(TvmMobilenetError):
    """A model name that nothing here builds."""


class InvalidModelError(TvmMobilenetError):
    """A model option (alpha, resolution, classes, batch, …) that cannot be built."""


class OnnxError(TvmMobilenetError):
    """An ONNX model that cannot be taken. The root of the named cases below."""


class OnnxFileError(OnnxError):
    """A file that is no ONNX model, is damaged, or lacks the file with its weights."""


class TfliteFileError(TvmMobilenetError):
    """A file that is no TensorFlow Lite model, or is damaged, or has a type that cannot be."""


class OpsetError(OnnxError):
    """An ONNX model newer than the onnx package, or too old."""


class UnsupportedOperatorError(OnnxError):
    """An operator, named with its node, that nothing here can compile."""


class WeightsError(TvmMobilenetError):
    """Weights that are missing, unexpected, of the wrong shape, or not finite."""


class QuantizationError(TvmMobilenetError):
    """A scale or a zero point that a type of number lacks, does not have, or cannot hold."""


class TargetError(TvmMobilenetError):
    """A target that is unknown, malformed, or not supported here."""


class ToolchainError(TvmMobilenetError):
    """No compiler that can link for the target, or the one there failed."""


class OutputError(TvmMobilenetError):
    """An output path that cannot be written; nothing is left half-written."""


class VerificationError(TvmMobilenetError):
    """A compiled module whose numbers differ from the reference's."""


class UnjudgedError(TvmMobilenetError):
    """An ONNX operator that neither onnx's evaluator nor an onnxruntime here can compute."""


class CodegenError(TvmMobilenetError):
    """A scheduled function that cannot become device code."""


class InputError(TvmMobilenetError):
    """A run-time input of the wrong shape, dtype, layout or device."""


class CInterfaceError(InputError):
    """C functions asked of an artifact that cannot have them: for a GPU, of the classic stack."""


class ImageError(TvmMobilenetError):
    """A file that is not an image, or one that cannot be read."""


class LabelsError(TvmMobilenetError):
    """Labels of images that cannot be read, or are not of the network's classes."""


class StateError(TvmMobilenetError):
    """A file of results so far that is damaged, or of another evaluation."""


class PreprocessError(TvmMobilenetError):
    """A description of preprocessing that cannot be read, or makes no sense."""


class ArtifactError(TvmMobilenetError):
    """An artifact that cannot be loaded here. The root of the named cases below."""


class NotAnArtifactError(ArtifactError):
    """A file that is no shared object of ours."""


class TruncatedArtifactError(ArtifactError):
    """A file of ours that is cut off or damaged."""


class ManifestError(ArtifactError):
    """An artifact whose manifest is not what a manifest must be; the field is named."""


class ArchitectureError(ArtifactError):
    """An artifact for another processor architecture or operating system."""


class CpuFeatureError(ArtifactError):
    """An artifact that needs instructions which this processor lacks."""


class AbiError(ArtifactError):
    """An artifact built for another TVM ABI than the one installed."""


class StackError(AbiError):
    """An artifact or a command for the stack (Relax or Relay) that is not installed here."""


class GpuError(ArtifactError):
    """An artifact for a graphics processor that cannot run here. The root of the cases below."""


class NoGpuError(GpuError):
    """No graphics processor of the kind that was asked for, or nothing that drives it."""


class GpuArchitectureError(GpuError):
    """A graphics processor of another architecture, or with less than the kernels need."""


class GpuDriverError(GpuError):
    """A driver that is too old, or that refused what the compiler made."""


class GpuMemoryError(GpuError):
    """A graphics processor without room for the weights and the maps."""


class RuntimeLibraryError(TvmMobilenetError):
    """TVM's runtime library is not installed, or could not be loaded."""


class RecordsError(TvmMobilenetError):
    """Tuning records that are not there, cannot be read, or make no sense."""


class RecordsBusyError(RecordsError):
    """A folder of tuning records that another process is writing to."""


class MissingRecordsError(RecordsError):
    """Kernels without a tuning record, where records were required."""


class TuningError(TvmMobilenetError):
    """A tuning run that cannot begin or go on: nothing to tune, nothing that measures."""


class RecordsWarning(UserWarning):
    """A tuning record that was found and not used: damaged, not verified, or not fitting."""


class PeerError(TvmMobilenetError):
    """A runtime to compare against that is not installed, or that failed."""


class PlotError(TvmMobilenetError):
    """A figure that cannot be drawn: no matplotlib, or no format for the file's name."""


class DeviceError(TvmMobilenetError):
    """A device that cannot be used. The root of the named cases below."""


class DeviceLostError(DeviceError):
    """A device that was there and is gone: crashed, switched off, or cut off."""


class DeviceTimeoutError(DeviceError):
    """A device that did not answer in time."""


class DeviceCallError(DeviceError):
    """A device that answered with an error."""
