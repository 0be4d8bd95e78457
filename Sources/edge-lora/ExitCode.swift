import Architectures
import Data
import Deployment
import Formats
import Hub
import Kernels
import Memory
import Options
import Planning
import Quantization
import Reporting
import Search
import Tokenization
import Training
import Transformer
import Tuning
import WeightStore

/// Exit codes, after `sysexits.h` where it has one.
enum ExitCode {
  static let success: Int32 = 0
  static let failure: Int32 = 1
  static let usage: Int32 = 2
  static let badData: Int32 = 65
  static let missingInput: Int32 = 66
  /// A run that died or computed what is no number.
  static let diverged: Int32 = 69
  static let cannotCreate: Int32 = 73
  static let inputOutput: Int32 = 74
  static let outOfBudget: Int32 = 77

  /// What the help and the manual say of them.
  static let meanings: [(codes: String, meaning: String)] = [
    ("0", "done"), ("1", "failed"), ("2", "wrong usage"), ("65", "bad data or model"), ("66", "missing input"),
    ("69", "the training has died (a checkpoint is left)"), ("73", "cannot create the output"),
    ("74", "read or write error"), ("77", "the memory budget cannot be met"),
    (
      "129, 130 and 143",
      "stopped by a signal (training leaves a checkpoint; a second signal ends at once)"
    ),
  ]

  static func of(_ error: any Error) -> Int32 {
    switch error {
    case is UsageError, is OptionError, is MissingFigure, is InstructionSet.Unavailable: usage
    case let error as FileError:
      switch error {
      case .cannotOpen, .isDirectory, .notRegular: missingInput
      case .cannotWrite, .alreadyExists, .notReplaceable: cannotCreate
      case .cannotMap, .writingFailed: inputOutput
      }
    case let error as HubError:
      switch error {
      case .notFound, .noAccess, .nothingToFetch: missingInput
      case .unusableList, .unsafePath, .wrongContent: badData
      case .noRoom: cannotCreate
      case .transfer: inputOutput
      case .stopped: StopRequest.signalNumber.map { 128 + $0 } ?? failure
      }
    case is MissingPath, is RunWithoutAdapter, is SearchFolder: missingInput
    case is RepositoryName.Invalid, is HubAddress.Invalid: usage
    case is RunRecord.NotARun: missingInput
    case is SpillError: inputOutput
    case is OutputInUse, is SearchMismatch, is FolderLock.Held: cannotCreate
    case is RunFailed: diverged
    case let stop as StopRequest.Stopped: 128 + stop.signal
    case is PlanError, is BudgetExceeded, is BudgetTooSmall: outOfBudget
    case is Arena.Failure: outOfBudget
    case is SafetensorsError, is GGUFError, is JSONError, is TableError, is UnsupportedAdapter, is AdapterError,
      is DataError, is SamplePrompt.Invalid,
      is TokenizerError, is TemplateError, is ModelDescription.Invalid, is WeightStore.Invalid,
      is ModelSource.Unsuitable,
      is CheckpointError, is GenerationError, is VerificationFailed:
      badData
    default: failure
    }
  }
}
