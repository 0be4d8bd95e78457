import Architectures
import Data
import Deployment
import Formats
import Kernels
import Memory
import Options
import Planning
import Tokenization
import Training
import Transformer
import Tuning
import WeightStore

/// A run that a signal ended before it wrote anything that stays.
struct Stopped: Error, CustomStringConvertible {
  let signal: Int32
  var description: String { "stopped by signal \(signal); nothing was written" }
}

/// Exit codes, after `sysexits.h` where it has one.
enum ExitCode {
  static let success: Int32 = 0
  static let failure: Int32 = 1
  static let usage: Int32 = 2
  static let badData: Int32 = 65
  static let missingInput: Int32 = 66
  static let cannotCreate: Int32 = 73
  static let inputOutput: Int32 = 74
  static let outOfBudget: Int32 = 77

  static func of(_ error: any Error) -> Int32 {
    switch error {
    case is UsageError, is OptionError, is InstructionSet.Unavailable: usage
    case let error as FileError:
      switch error {
      case .cannotOpen, .isDirectory, .notRegular: missingInput
      case .cannotWrite, .alreadyExists, .notReplaceable: cannotCreate
      case .cannotMap, .writingFailed: inputOutput
      }
    case is SpillError: inputOutput
    case let stop as Stopped: 128 + stop.signal
    case is PlanError, is BudgetExceeded: outOfBudget
    case is Arena.Failure: outOfBudget
    case is SafetensorsError, is GGUFError, is JSONError, is PEFTAdapterConfig.Unsupported, is AdapterError,
      is DataError,
      is TokenizerError, is TemplateError, is ModelDescription.Invalid, is WeightStore.Invalid,
      is ModelSource.Unsuitable,
      is CheckpointError, is GenerationError:
      badData
    default: failure
    }
  }
}
